"""Unwraps a surface: each connected part, a disc with holes, is laid flat without overlap and with little stretch."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.linalg

from tfface.geometry import mesh
from tfface.reconstruction.outputs import output_mesh

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

MARGIN = 1 / 128
"""Of the texture's side: what stays free around each chart."""

_EXPONENT = 4.0
"""Of the superellipse |x|^p + |y|^p = 1 around a chart: fills 93 % of a square, and is strictly convex."""
_ROUNDS = 12
_ALIGNMENTS = 360


@dataclasses.dataclass(frozen=True, eq=False)
class Atlas:
    """Where each triangle lies on the texture.

    Attributes:
      uv: [A, 2] float32, share of the texture's width and height, origin in its top-left corner, v down.
      triangles: [F, 3] int32, indices of `uv`, in the order of the surface's triangles.
      vertex: [A] int32, the surface's vertex that each point of the atlas is; with a single chart, 0..P - 1.
      chart: [A] int32, the chart that each point belongs to.
    """

    uv: Array
    triangles: Indices
    vertex: Indices
    chart: Indices


def unwrap(vertices: npt.ArrayLike, triangles: npt.ArrayLike) -> Atlas:
    """Lays a surface out in the unit square. A face with openings is one chart and stays recognisable.

    A part that is no disc with holes (closed, with handles, or not a manifold) is cut in two across its longest axis
    until its pieces are.

    Args:
      vertices: [P, 3], mm, model frame.
      triangles: [F, 3], wound outwards.

    Returns:
      The atlas; two triangles never overlap, and areas are about proportional to those on the surface.
    """
    vertices, triangles = np.asarray(vertices, np.float64), np.asarray(triangles, np.int64)
    charts = [_flatten(vertices, triangles[faces], faces) for faces in _discs(vertices, triangles)]
    used = np.unique(triangles)
    if len(charts) == 1:
        uv = np.zeros((len(vertices), 2))
        uv[charts[0].vertex] = charts[0].xy
        uv = MARGIN + (1 - 2 * MARGIN) * (uv + 1) / 2
        unused = np.setdiff1d(np.arange(len(vertices)), used)
        uv[unused] = 0
        order = np.arange(len(vertices), dtype=np.int32)
        return Atlas(uv.astype(np.float32), triangles.astype(np.int32), order, np.zeros_like(order))
    corners, sides = _pack(np.array([chart.side for chart in charts]))
    placed = [corner + side * (chart.xy + 1) / 2 for chart, corner, side in zip(charts, corners, sides, strict=True)]
    first = np.cumsum([0] + [len(chart.vertex) for chart in charts])
    atlas_triangles = np.zeros_like(triangles)
    for start, chart in zip(first[:-1], charts, strict=True):
        atlas_triangles[chart.faces] = start + chart.triangles
    return Atlas(
        np.concatenate(placed).astype(np.float32),
        atlas_triangles.astype(np.int32),
        np.concatenate([chart.vertex for chart in charts]).astype(np.int32),
        np.repeat(np.arange(len(charts)), np.diff(first)).astype(np.int32),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Chart:
    """A flattened piece: its triangles of the surface, own triangles, vertices, places in [-1, 1]^2, and size in mm."""

    faces: Indices
    triangles: Indices
    vertex: Indices
    xy: Array
    side: float


def _discs(vertices: Array, triangles: Indices) -> list[Indices]:
    """Cuts the surface into discs with holes: indices of triangles, each exactly once."""
    pending, found = [np.arange(len(triangles))], []
    while pending:
        faces = pending.pop()
        for piece in _edge_connected(triangles[faces]):
            piece = faces[piece]
            if _is_disc_with_holes(triangles[piece]):
                found.append(piece)
                continue
            centres = vertices[triangles[piece]].mean(axis=1)
            # The longest axis is the first principal component of the triangles' centres.
            along = centres @ np.linalg.svd(centres - centres.mean(axis=0), full_matrices=False)[2][0]
            half = np.zeros(len(piece), bool)
            half[np.argsort(along, kind="stable")[: len(piece) // 2]] = True
            pending += [piece[half], piece[~half]]
    return sorted(found, key=lambda piece: int(piece[0]))


def _edge_connected(triangles: Indices) -> list[Indices]:
    """Triangles that are joined by edges, part by part."""
    sides = np.sort(np.concatenate((triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]])), axis=1)
    edge = np.unique(sides, axis=0, return_inverse=True)[1].reshape(-1)
    face = np.tile(np.arange(len(triangles)), 3)
    order = np.argsort(edge, kind="stable")
    joined = edge[order][1:] == edge[order][:-1]
    pairs = face[order][1:][joined], face[order][:-1][joined]
    graph = scipy.sparse.coo_matrix((np.ones(len(pairs[0])), pairs), shape=(len(triangles),) * 2)
    count, part = scipy.sparse.csgraph.connected_components(graph, directed=False)
    return [np.flatnonzero(part == index) for index in range(count)]


def _is_disc_with_holes(triangles: Indices) -> bool:
    """Whether edges have at most two triangles, wound alike, and Euler's characteristic is a disc's with its holes."""
    directed = np.concatenate((triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]))
    if len(np.unique(directed, axis=0)) != len(directed) or (directed[:, 0] == directed[:, 1]).any():
        return False
    rims = mesh.boundary_edges(triangles)
    loops = output_mesh.boundary_loops(triangles)
    touching = len(np.unique(rims)) != len(rims)
    euler = len(np.unique(triangles)) - len(mesh.edges(triangles)) + len(triangles)
    return not touching and len(loops) >= 1 and euler + len(loops) == 2


def _flatten(vertices: Array, triangles: Indices, faces: Indices) -> _Chart:
    """Lays a disc with holes into a superellipse.

    Tutte's embedding with mean value weights (Floater, "Mean value coordinates", CAGD 20, 2003), which cannot overlap
    as its weights are positive and its outline convex; the weights are then divided by the stretch around each vertex
    until that no longer lowers it (Yoshizawa, Belyaev, Seidel, "A fast and simple stretch-minimizing mesh
    parameterization", SMI 2004).
    """
    vertex, own = np.unique(triangles, return_inverse=True)
    own = own.reshape(-1, 3)
    points = vertices[vertex]
    area = 0.5 * np.linalg.norm(_normals(points, own), axis=-1).sum()
    rim, *holes = sorted(output_mesh.boundary_loops(own), key=lambda loop: -_length(points[loop]))
    filled = [own]
    for hole in holes:
        # A hole is filled by a fan from its centre: an inner rim would be free to fold over.
        filled.append(np.stack((np.roll(hole, -1), hole, np.full(len(hole), len(points))), axis=1))
        points = np.append(points, points[hole].mean(axis=0, keepdims=True), axis=0)
    everything = np.concatenate(filled)
    outline = _outline(points[rim])
    weights = _mean_value_weights(points, everything)
    best: Array = np.zeros((len(points), 2))
    least = np.inf
    for _ in range(_ROUNDS):
        xy = _solve(weights, rim, outline)
        stretch, around = _stretch(points, everything, xy)
        if not stretch < least:
            break
        best, least = xy, stretch
        # w_ij / stretch_j: a stretched neighbour pulls less, so that its triangles get more room.
        weights = weights @ scipy.sparse.diags(1 / around)
    return _Chart(faces, own, vertex, best[: len(vertex)], float(np.sqrt(area)))


def _normals(points: Array, triangles: Indices) -> Array:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)


def _length(points: Array) -> float:
    return float(np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=-1).sum())


def _outline(points: Array) -> Array:
    """Places of a loop's vertices on the superellipse, spaced as they are, turned to where they are as seen by x, y.

    Outward triangles run clockwise as seen in the model frame with y down, so the loop does too.
    """
    angle = np.linspace(0, -2 * np.pi, 4097)
    curve = np.stack((np.cos(angle), np.sin(angle)), axis=-1)
    curve = np.sign(curve) * np.abs(curve) ** (2 / _EXPONENT)
    along_curve = np.append(0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=-1)))
    along_curve /= along_curve[-1]
    steps = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=-1)
    steps = np.maximum(steps, 1e-3 * steps.mean())
    along = np.append(0, np.cumsum(steps)[:-1]) / steps.sum()
    starts = np.arange(_ALIGNMENTS) / _ALIGNMENTS
    places = np.mod(along + starts[:, None], 1)
    turned = np.stack([np.interp(places, along_curve, curve[:, axis]) for axis in range(2)], axis=-1)
    flat = points[:, :2] - points[:, :2].mean(axis=0)
    return turned[np.argmax(np.einsum("slk,lk->s", turned, flat))]


def _mean_value_weights(points: Array, triangles: Indices) -> scipy.sparse.csr_matrix:
    """w_ij = (tan(alpha / 2) + tan(beta / 2)) / |p_i - p_j|, alpha and beta the angles at i beside the edge ij."""
    rows, columns, values = [], [], []
    shortest = 1e-3 * np.sqrt(np.linalg.norm(_normals(points, triangles), axis=-1).mean())
    for corner in range(3):
        i, j, k = triangles[:, corner], triangles[:, (corner + 1) % 3], triangles[:, (corner + 2) % 3]
        to_j, to_k = points[j] - points[i], points[k] - points[i]
        length_j, length_k = (np.maximum(np.linalg.norm(v, axis=-1), shortest) for v in (to_j, to_k))
        cosine = np.clip(np.einsum("fk,fk->f", to_j, to_k) / (length_j * length_k), -0.9999, 0.9999)
        # tan(angle / 2).
        half = np.sqrt((1 - cosine) / (1 + cosine))
        rows += [i, i]
        columns += [j, k]
        values += [half / length_j, half / length_k]
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return scipy.sparse.csr_matrix(scipy.sparse.coo_matrix(entries, shape=(len(points),) * 2))


def _solve(weights: scipy.sparse.csr_matrix, rim: Indices, outline: Array) -> Array:
    """Each vertex at the weighted mean of its neighbours, those of the rim on the outline."""
    xy = np.zeros((weights.shape[0], 2))
    xy[rim] = outline
    inner = np.setdiff1d(np.arange(len(xy)), rim)
    if len(inner):
        system = (scipy.sparse.diags(np.asarray(weights.sum(axis=1)).ravel()) - weights).tocsr()[inner]
        known = -(system[:, rim] @ outline)
        xy[inner] = scipy.sparse.linalg.splu(system[:, inner].tocsc()).solve(known)
    return xy


def _stretch(points: Array, triangles: Indices, xy: Array) -> tuple[float, Array]:
    """Root mean square stretch of the map from the plane to the surface, whole and around each vertex.

    Of a triangle: sqrt((largest singular value^2 + smallest^2) / 2) (Sander et al., "Texture mapping progressive
    meshes", SIGGRAPH 2001, section 3); the plane is scaled to the area of the surface.
    """
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    u, v = xy[triangles[:, 1]] - xy[triangles[:, 0]], xy[triangles[:, 2]] - xy[triangles[:, 0]]
    areas = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    flat = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    scale = areas.sum() / max(0.5 * np.abs(flat).sum(), 1e-30)
    flat = np.where(np.abs(flat) > 1e-12, flat, -1e-12)[:, None]
    # Columns of the Jacobian d(surface) / d(x, y) of a triangle. Half the sum of their squares is half the sum of the
    # squared singular values.
    along_x = ((b - a) * v[:, 1:] - (c - a) * u[:, 1:]) / flat
    along_y = ((c - a) * u[:, :1] - (b - a) * v[:, :1]) / flat
    squared = 0.5 * ((along_x**2).sum(axis=-1) + (along_y**2).sum(axis=-1)) / scale
    total = float(np.sqrt((areas * squared).sum() / areas.sum()))
    sums = np.stack((areas * squared, areas), axis=-1)
    around = np.stack([np.bincount(triangles.T.ravel(), np.tile(s, 3), len(points)) for s in sums.T])
    return total, np.sqrt(np.maximum(around[0] / np.maximum(around[1], 1e-12), 1e-6))


def _pack(sizes: Array) -> tuple[Array, Array]:
    """Corners [C, 2] and sides [C] of squares of given proportions, on shelves, as large as fit the unit square."""
    order = np.argsort(-sizes, kind="stable")
    low, high = 0.0, 1.0 / sizes.max()
    corners = np.zeros((len(sizes), 2))
    for _ in range(40):
        scale = (low + high) / 2
        placed = _on_shelves(scale * sizes[order])
        if placed is None:
            high = scale
        else:
            low, corners[order] = scale, placed
    return corners, low * sizes


def _on_shelves(sides: Array) -> Array | None:
    """Corners of squares in descending order of size, or None if they do not fit."""
    corners = np.zeros((len(sides), 2))
    x, y, shelf = MARGIN, MARGIN, float(sides[0])
    for index, side in enumerate(sides):
        if x + side + MARGIN > 1:
            x, y, shelf = MARGIN, y + shelf + 2 * MARGIN, float(side)
        if x + side + MARGIN > 1 or y + side + MARGIN > 1:
            return None
        corners[index] = x, y
        x += side + 2 * MARGIN
    return corners
