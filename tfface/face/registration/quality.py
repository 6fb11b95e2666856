"""How good a registration is, by what can be known without the truth."""

import dataclasses

import numpy as np
import numpy.typing as npt

from tfface.face.registration.correspondence import Matches
from tfface.geometry import mesh

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class Quality:
    """Measures of one registration.

    Attributes:
      residual_mm: mean distance from the vertices that match the scan to its surface.
      residual_95_mm: its 95th percentile.
      coverage: share, by area, of what a scanner can see of the template that matches the scan.
      landmark_mm: root mean square distance of the template's landmarks from those given, NaN if there were none.
      strain: root mean square relative change of length of the edges against the shape at rest, after its scale: a
        face on a mean face has about 0.1, a crumpled surface more.
      flipped: share of the triangles that are turned over against the shape at rest.
      search_residual_mm: of the rigid placement, NaN if landmarks gave it.
      search_margin: of the rigid placement against its runner-up, NaN likewise.
    """

    residual_mm: float
    residual_95_mm: float
    coverage: float
    landmark_mm: float
    strain: float
    flipped: float
    search_residual_mm: float
    search_margin: float

    def fault(
        self,
        *,
        max_residual: float = 1.2,
        min_coverage: float = 0.5,
        max_strain: float = 0.3,
        max_flipped: float = 0.01,
        max_landmark: float = 5.0,
    ) -> str | None:
        """Why a person should look at this registration, or None.

        Args:
          max_residual: mm.
          min_coverage: share.
          max_strain: ratio.
          max_flipped: share.
          max_landmark: mm.
        """
        found = []
        if not self.residual_mm <= max_residual:
            found.append(f"residual {self.residual_mm:.2f} mm above {max_residual} mm")
        if not self.coverage >= min_coverage:
            found.append(f"coverage {self.coverage:.0%} below {min_coverage:.0%}")
        if not self.strain <= max_strain:
            found.append(f"strain {self.strain:.2f} above {max_strain}")
        if not self.flipped <= max_flipped:
            found.append(f"{self.flipped:.1%} of the triangles turned over")
        if self.landmark_mm > max_landmark:  # NaN, without landmarks, is no fault.
            found.append(f"landmarks off by {self.landmark_mm:.1f} mm, more than {max_landmark} mm")
        return ", ".join(found) or None


def measure(
    vertices: npt.ArrayLike,
    rest: npt.ArrayLike,
    triangles: npt.NDArray[np.integer],
    matched: Matches,
    exposure: Array,
    landmarks: tuple[npt.NDArray[np.integer], Array] | None,
    search: tuple[float, float],
) -> Quality:
    """Measures a registration.

    Args:
      vertices: [P, 3], mm, the registered template.
      rest: [P, 3], mm, the template, any rigid frame.
      triangles: [F, 3].
      matched: of `vertices`.
      exposure: [P], see `correspondence.exposure`.
      landmarks: Vertex indices [L] and where they lie on the scan [L, 3], or None.
      search: Residual and margin of the rigid placement.

    Returns:
      The measures.
    """
    vertices, rest = np.asarray(vertices, np.float64), np.asarray(rest, np.float64)
    used = matched.weights > 0
    distances = matched.distances[used] if used.any() else np.array([np.nan])
    area = mesh.vertex_areas(vertices, triangles)
    visible = exposure > 0
    landmark = np.nan
    if landmarks is not None and len(landmarks[0]):
        landmark = float(np.sqrt(((vertices[landmarks[0]] - landmarks[1]) ** 2).sum(axis=1).mean()))
    i, j = mesh.edges(triangles).T
    # Logarithms: an edge of half its length counts as much as one of twice. The median is the size of the head.
    ratio = np.log(np.linalg.norm(vertices[i] - vertices[j], axis=1) / np.linalg.norm(rest[i] - rest[j], axis=1))
    return Quality(
        residual_mm=float(distances.mean()),
        residual_95_mm=float(np.quantile(distances, 0.95)),
        coverage=float(area[used & visible].sum() / area[visible].sum()),
        landmark_mm=landmark,
        strain=float(np.sqrt(((ratio - np.median(ratio)) ** 2).mean())),
        flipped=_flipped(vertices, rest, triangles),
        search_residual_mm=search[0],
        search_margin=search[1],
    )


def _flipped(vertices: Array, rest: Array, triangles: npt.NDArray[np.integer]) -> float:
    """Share of triangles whose normal is more than 90 degrees off that of their surroundings and was not at rest."""

    def turned(points: Array) -> npt.NDArray[np.bool_]:
        around = mesh.vertex_normals(points, triangles)[triangles].mean(axis=1)
        return np.einsum("fk,fk->f", around, mesh.triangle_normals(points, triangles)) < 0

    return float((turned(vertices) & ~turned(rest)).mean())
