"""The left-right symmetry of a template: which vertex is the mirror image of which.

A symmetry is a permutation [P] of the vertices that is its own inverse and maps every triangle to a triangle of the
opposite orientation. Templates are modelled in quadrilaterals, which exporters cut into triangles along either
diagonal; so a pair of triangles may map to a pair that covers the same quadrilateral.
"""

import numpy as np
import numpy.typing as npt
import scipy.sparse.csgraph
from scipy.spatial import cKDTree

from tfface.geometry import alignment, mesh

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_MIRROR = np.diag([-1.0, 1.0, 1.0])

_SEEDS = 24
"""Edges that are tried as the start of the walk over each connected part."""

_CONFIDENCE = (0.5, 0.2, 0.05, 0.0)
"""Margins of the votes, in edge lengths: a round of the walk accepts what reaches the first that anything reaches."""

_MAX_ERROR = 2.0
"""Edge lengths at which a candidate is as good as none."""

_REPAIRS = 3
"""Rounds in which what turned out not to be symmetric is forgotten and found again from what surrounds it."""

_LEFT_OVER = 0.02
"""Share of a part's vertices at which a walk counts as complete; those are matched by position."""

_MOST_LEFT = 4000
"""Vertices that may be matched by position, each with each other: more would take more memory than a machine has."""

_LEAST = 0.7
"""Share of a part's vertices that the best walk must reach; repairs find the others."""


def find_symmetry(vertices: npt.ArrayLike, triangles: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Finds the left-right symmetry of a template from its geometry and its topology.

    Each vertex is matched with the vertex nearest to its mirror image. Where that is not a symmetry, because the shape
    is not exactly symmetric (a scan, a mean of scans), a walk over the mesh finds it: from an edge whose mirror image
    is certain, triangle by triangle, so that positions only have to tell neighbours from one another.

    Args:
      vertices: [P, 3], mm, any origin; the plane of symmetry is about x = constant.
      triangles: [F, 3].

    Returns:
      [P], index of the mirror image of each vertex; those on the midline are their own.

    Raises:
      ValueError: If the arrays do not fit or the mesh is not symmetric; it says how far it was from it.
    """
    vertices = np.asarray(vertices, np.float64)
    triangles = mesh.checked_triangles(vertices, triangles)
    mirrored = _mirror(vertices)
    nearest = cKDTree(vertices).query(mirrored)[1]
    if _fault(nearest, triangles) is None:
        return nearest.astype(np.int32)
    return check_symmetry(_Walk(vertices, mirrored, triangles).permutation(), triangles)


def find_symmetry_or_none(vertices: npt.ArrayLike, triangles: npt.ArrayLike) -> npt.NDArray[np.int32] | None:
    """`find_symmetry` for a mesh that need not be symmetric.

    Args:
      vertices: [P, 3], mm.
      triangles: [F, 3].

    Returns:
      [P], or None if the mesh has no symmetry that can be found.
    """
    try:
        return find_symmetry(vertices, triangles)
    except ValueError:
        return None


def check_symmetry(symmetry: npt.ArrayLike, triangles: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Checks that a permutation is a symmetry of a mesh.

    Args:
      symmetry: [P], integers.
      triangles: [F, 3], in [0, P).

    Returns:
      [P] int32.

    Raises:
      ValueError: If it is not; it says why.
    """
    symmetry = np.asarray(symmetry)
    if symmetry.ndim != 1 or not np.issubdtype(symmetry.dtype, np.integer):
        raise ValueError(f"symmetry must be integers [P], got {symmetry.dtype} {list(symmetry.shape)}")
    fault = _fault(symmetry, np.asarray(triangles))
    if fault is not None:
        raise ValueError(f"symmetry must mirror the mesh onto itself, but {fault}")
    return symmetry.astype(np.int32)


def _fault(symmetry: Indices, triangles: Indices) -> str | None:
    """Why a permutation is not a symmetry of a mesh, or None."""
    indices = np.arange(len(symmetry))
    if len(symmetry) <= triangles.max() or symmetry.min() < 0 or symmetry.max() >= len(symmetry):
        return f"{len(symmetry)} indices from {symmetry.min()} to {symmetry.max()} do not permute the vertices"
    unpaired = int((symmetry[symmetry] != indices).sum())
    if unpaired:
        return f"{unpaired} of {len(symmetry)} vertices are not the mirror image of their mirror image"
    broken = len(broken_triangles(symmetry, triangles))
    if broken:
        return f"{broken} of {len(triangles)} triangles have no mirror image"
    return None


def _codes(triangles: Indices, num_vertices: int) -> npt.NDArray[np.int64]:
    """One number for each oriented triangle, whichever corner comes first."""
    # Turned so that the smallest index is first: (a, b, c), (b, c, a) and (c, a, b) are one triangle, (a, c, b) is not.
    first = np.argmin(triangles, axis=1)[:, None]
    a, b, c = np.take_along_axis(triangles.astype(np.int64), (first + np.arange(3)) % 3, axis=1).T
    return (a * num_vertices + b) * num_vertices + c


def broken_triangles(symmetry: Indices, triangles: Indices) -> Indices:
    """Mirror images of triangles that are not in the mesh, even with quadrilaterals cut along the other diagonal.

    Args:
      symmetry: [P].
      triangles: [F, 3].

    Returns:
      [B, 3], each the corners of its triangle in reverse order, mirrored.
    """
    # A reflection turns the orientation round, hence the corners in reverse order.
    images = symmetry[triangles[:, ::-1]]
    codes, image_codes = _codes(triangles, len(symmetry)), _codes(images, len(symmetry))
    images = images[~np.isin(image_codes, codes)]
    # Only triangles that are nobody's image can be half of a quadrilateral that is cut along the other diagonal.
    flipped = _flipped_pairs(triangles[~np.isin(codes, image_codes)])
    return images[~np.isin(_codes(images, len(symmetry)), _codes(flipped, len(symmetry)))]


def _flipped_pairs(triangles: Indices) -> Indices:
    """The two triangles over the other diagonal, for each two triangles [F, 3] that share an edge."""
    starts, ends = triangles[:, [0, 1, 2]].reshape(-1), triangles[:, [1, 2, 0]].reshape(-1)
    table = _HalfEdges(triangles)
    apex, across = triangles[:, [2, 0, 1]].reshape(-1), table.apex(ends, starts)
    # For the triangles (start, end, apex) and (end, start, across), the other diagonal is apex - across.
    inner = across >= 0
    return np.stack((across, ends, apex), axis=1)[inner]


class _HalfEdges:
    """The triangle on the left of each directed edge."""

    def __init__(self, triangles: Indices):
        triangles = triangles.astype(np.int64)
        self.starts, self.ends = triangles.T.reshape(-1), triangles[:, [1, 2, 0]].T.reshape(-1)
        self.apexes = triangles[:, [2, 0, 1]].T.reshape(-1)
        self._size = int(triangles.max(initial=0)) + 1
        # A directed edge occurs once in an oriented manifold, so that its key finds its triangle.
        keys = self.starts * self._size + self.ends
        order = np.argsort(keys, kind="stable")
        self._keys, self._sorted_apexes = keys[order], self.apexes[order]

    def apex(self, starts: Indices, ends: Indices) -> Indices:
        """[...]: the third corner of the triangle on the left of start -> end, -1 where there is none."""
        if not len(self._keys):
            return np.full(np.shape(starts), -1)
        keys = starts * self._size + ends
        found = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        exists = (self._keys[found] == keys) & (starts >= 0) & (ends >= 0)
        return np.where(exists, self._sorted_apexes[found], -1)


def _mirror(vertices: Array) -> Array:
    """The vertices mirrored at the plane of symmetry, which is fitted: x -> -x, then iterated closest points."""
    tree = cKDTree(vertices)
    mirrored = (vertices - vertices.mean(axis=0)) @ _MIRROR + vertices.mean(axis=0)
    previous = None
    for _ in range(50):
        nearest = tree.query(mirrored)[1]
        if previous is not None and np.array_equal(nearest, previous):
            break
        # ICP of the mirrored shape onto the shape: the rigid motion left over is where the plane of symmetry really is.
        mirrored = alignment.rigid(mirrored, vertices[nearest]).apply(mirrored)
        previous = nearest
    return mirrored


class _Walk:
    """Extends the symmetry from one edge over the whole mesh.

    An edge with its mirror image known gives the mirror image of the apex of its triangle: the apex of the mirrored
    edge's triangle, or, where a quadrilateral is cut along the other diagonal, that of one of the two triangles behind
    it. Position decides: each known edge votes for the candidate nearest to where the apex should be, moved from its
    mirrored position as the edge was.
    """

    def __init__(self, vertices: Array, mirrored: Array, triangles: Indices):
        self._vertices, self._mirrored, self._triangles = vertices, mirrored, triangles
        self._half_edges = _HalfEdges(triangles)
        self._edges = mesh.edges(triangles).astype(np.int64)

    def permutation(self) -> Indices:
        """The permutation [P]; whether it is a symmetry is not checked.

        Raises:
          ValueError: If no start leads over a whole connected part of the mesh.
        """
        symmetry = np.full(len(self._vertices), -1)
        size = len(symmetry)
        ones = np.ones(len(self._edges))
        graph = scipy.sparse.coo_matrix((ones, tuple(self._edges.T)), shape=(size, size))
        parts = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
        for part in np.unique(parts[self._edges[:, 0]]):
            members = parts == part
            # The walk over one part also fills in its mirror image, which may be another part (the other eye).
            if (symmetry[members] < 0).mean() > _LEFT_OVER:
                symmetry = self._over_part(symmetry, members)
        symmetry = self._matched_by_position(symmetry)
        for rings in range(_REPAIRS):
            broken = np.zeros(size, bool)
            broken[broken_triangles(symmetry, self._triangles)] = True
            if not broken.any():
                break
            # Each round forgets one ring more around what is broken: a fault is often older than where it shows.
            for _ in range(rings):
                broken[self._edges[broken[self._edges].any(axis=1)]] = True
            symmetry[broken | broken[symmetry]] = -1
            self._grow(symmetry)
            symmetry = self._matched_by_position(symmetry)
        return symmetry

    def _over_part(self, symmetry: Indices, members: npt.NDArray[np.bool_]) -> Indices:
        """`symmetry` extended over a connected part of the mesh and over its mirror image."""
        best, best_share = symmetry, 0.0
        for edge, image in self._seeds(members):
            extended = symmetry.copy()
            extended[edge], extended[image] = image, edge
            self._grow(extended)
            share = float((extended[members] >= 0).mean())
            if share > best_share:
                best, best_share = extended, share
            if share > 1 - _LEFT_OVER:
                break
        if best_share < _LEAST:
            raise ValueError(
                f"the mesh must be symmetric, but of {_SEEDS} starts none led further than over {best_share:.1%} of "
                f"{int(members.sum())} connected vertices"
            )
        return best

    def _seeds(self, members: npt.NDArray[np.bool_]) -> list[tuple[Indices, Indices]]:
        """Edges of a part and their mirror images, from among those that fit best."""
        distances, nearest = cKDTree(self._vertices).query(self._mirrored)
        edges = self._edges[members[self._edges].all(axis=1)]
        lengths = np.linalg.norm(self._vertices[edges[:, 0]] - self._vertices[edges[:, 1]], axis=1)
        images = nearest[edges]
        # A certain edge: both ends are the nearest of their nearest, and the images are joined by an edge as well.
        mutual = (nearest[images] == edges).all(axis=1)
        connected = (self._half_edges.apex(images[:, 0], images[:, 1]) >= 0) | (
            self._half_edges.apex(images[:, 1], images[:, 0]) >= 0
        )
        with np.errstate(divide="ignore", invalid="ignore"):  # edges without length are never among the best
            error = np.where(mutual & connected, distances[edges].max(axis=1) / lengths, np.inf)
        order = np.argsort(error, kind="stable")[: int(np.isfinite(error).sum())]
        # The best of all lie close together; starts from everywhere among the best tenth do not fail together.
        chosen = order[np.unique(np.linspace(0, len(order) // 10, _SEEDS).astype(int))] if len(order) else order
        return [(edges[index], images[index]) for index in chosen]

    def _grow(self, symmetry: Indices) -> None:
        """Extends `symmetry`, in place, round by round as far as it goes."""
        while True:
            vertices, images, margins = self._votes(symmetry)
            # The clearest votes first: what they decide helps the others, and a wrong vote would spread.
            accepted = next((margins >= least for least in _CONFIDENCE if (margins >= least).any()), None)
            if accepted is None:
                return
            symmetry[vertices[accepted]] = images[accepted]

    def _votes(self, symmetry: Indices) -> tuple[Indices, Indices, Array]:
        """Vertices next to known edges, the images that their edges vote for, mutually, and margins of votes."""
        table = self._half_edges
        known = (symmetry[table.starts] >= 0) & (symmetry[table.ends] >= 0) & (symmetry[table.apexes] < 0)
        starts, ends, apexes = table.starts[known], table.ends[known], table.apexes[known]
        image_starts, image_ends = symmetry[starts], symmetry[ends]
        # The mirrored edge is directed the other way. Its triangle's apex or, if the quadrilateral is cut along the
        # other diagonal, the apex behind either of that triangle's two other edges.
        behind = table.apex(image_ends, image_starts)
        candidates = np.stack((behind, table.apex(image_ends, behind), table.apex(behind, image_starts)), axis=1)
        candidates = np.where((candidates >= 0) & (symmetry[candidates] < 0), candidates, -1)
        moved = (
            self._vertices[image_starts] - self._mirrored[starts] + self._vertices[image_ends] - self._mirrored[ends]
        )
        # x_apex mirrored, plus the mean way that the images of the edge's ends have gone from their mirrored places.
        expected = self._mirrored[apexes] + moved / 2
        length = np.linalg.norm(self._vertices[apexes] - (self._vertices[starts] + self._vertices[ends]) / 2, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.linalg.norm(self._vertices[candidates] - expected[:, None], axis=2) / length[:, None]
        error = np.where(candidates >= 0, np.minimum(error, _MAX_ERROR), _MAX_ERROR)
        best = np.argmin(error, axis=1)
        # The margin of a vote: how much nearer the best candidate is than the second.
        two_least = np.partition(error, 1, axis=1)
        elected = np.take_along_axis(candidates, best[:, None], axis=1)[:, 0]
        return _elect(apexes, elected, two_least[:, 1] - two_least[:, 0], len(symmetry))

    def _matched_by_position(self, symmetry: Indices) -> Indices:
        """`symmetry` with the vertices that are still without an image matched to one another by position."""
        symmetry = symmetry.copy()
        if (count := np.count_nonzero(symmetry < 0)) > _MOST_LEFT:
            raise ValueError(
                f"the mesh must be symmetric, but {count} of {len(symmetry)} vertices have no mirror image"
            )
        while (left := np.flatnonzero(symmetry < 0)).size:
            # d_ij + d_ji is symmetric, so that i chooses j exactly if j may choose i.
            distances = np.linalg.norm(self._vertices[left] - self._mirrored[left, None], axis=2)
            nearest = np.argmin(distances + distances.T, axis=1)
            mutual = nearest[nearest] == np.arange(len(left))  # Holds for the two that are nearest of all, at least.
            symmetry[left[mutual]] = left[nearest[mutual]]
        return symmetry


def _elect(voters: Indices, elected: Indices, weights: Array, size: int) -> tuple[Indices, Indices, Array]:
    """Counts votes: vertices [E] and the images [E] that elect them in turn, with margins [E] over the runners-up.

    A vote that c is the image of v is also one that v is the image of c: where a quadrilateral is cut differently on
    the two sides, only one of them can give it.
    """
    valid = elected >= 0
    voters, elected = np.append(voters[valid], elected[valid]), np.append(elected[valid], voters[valid])
    pairs, ballot = np.unique(voters * size + elected, return_inverse=True)
    votes = np.bincount(ballot, np.tile(weights[valid], 2), len(pairs))
    order = np.lexsort((-votes, pairs // size))
    vertices, images, votes = pairs[order] // size, pairs[order] % size, votes[order]
    wins = np.diff(vertices, prepend=-1) > 0
    # The runner-up stands behind the winner, unless the next vertex's winner stands there.
    runner_up = np.where(np.append(wins, True)[1:], 0, np.append(votes, 0)[1:])
    image, margin = np.full(size, -1), np.zeros(size)
    image[vertices[wins]], margin[vertices[wins]] = images[wins], (votes - runner_up)[wins]
    mutual = vertices[wins][image[images[wins]] == vertices[wins]]
    return mutual, image[mutual], np.minimum(margin[mutual], margin[image[mutual]])
