"""A hand-held depth scanner that scans people whose shape is known, so that registration can be measured.

Its faults are those of the real ones: noise and quantisation that grow with the distance, holes where the surface
turns away, behind the nose and in dark hair, tracking that drifts, another topology, shoulders, and a pose and a unit
that nobody told.
"""

import dataclasses
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tfface import schema
from tfface.geometry import alignment, mesh, raycast
from tfface.people.photographer import HeadModel, Part, PhotographySettings, headwear, posing
from tfface.scans import bust, depth_camera, fusion
from tfface.scans.scanner_settings import ScannerSettings

Array = npt.NDArray[np.floating]

MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
"""The units that a scan may come in."""

_CLOTH_RETURN = 0.97


class FullHeadPeople(Protocol):
    """A source of people whose full heads can be scanned; `tfface.people.people_source.PeopleSource` is the rest."""

    @property
    def head(self) -> HeadModel:
        """Topology of the full head."""
        ...

    def head_shape(self, index: int) -> npt.NDArray[np.float32]:
        """The full head, [V, 3] float32, mm, source frame."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedScan:
    """A scan and what is known about it.

    Attributes:
      mesh: in the scan's frame and unit.
      unit: one of `MM_PER_UNIT`.
      scan_from_source: similarity from the source frame in mm to the scan's frame and unit.
    """

    mesh: mesh.Mesh
    unit: str
    scan_from_source: alignment.Transform


def scan(
    sitters: FullHeadPeople,
    index: int,
    *,
    settings: ScannerSettings | None = None,
    seed: int = 0,
    unit: str | None = None,
    expression: npt.NDArray[np.float32] | None = None,
) -> SimulatedScan:
    """Scans a person from the waist up, as a cube around the head holds it.

    Args:
      sitters: the people.
      index: of the person.
      settings: of the scanner; a Structure Sensor if None.
      seed: of everything random, together with `index`.
      unit: of the scan, one of `MM_PER_UNIT`; drawn if None.
      expression: [E], weights of the head's expressions; neutral if None.

    Returns:
      The scan.

    Raises:
      ValueError: if the unit is none of those.
    """
    if unit is not None and unit not in MM_PER_UNIT:
        raise ValueError(f"unit: expected one of {sorted(MM_PER_UNIT)}, got {unit!r}")
    settings = settings or ScannerSettings()
    rng = np.random.default_rng([seed, index])
    vertices = sitters.head_shape(index)
    if expression is not None:
        vertices = posing.pose(sitters.head, vertices, expression)
    subject, centre = _pose(sitters.head, vertices, settings, rng)
    true, tracked = depth_camera.trajectory(centre, settings, rng)
    intrinsics = depth_camera.intrinsics_of(settings)
    frames = [
        depth_camera.DepthFrame(depth_camera.measure(subject, *at, settings, rng), intrinsics, *believed)
        for at, believed in zip(true, tracked, strict=True)
    ]
    fused = fusion.fuse(frames, centre, settings)
    unit = unit or str(rng.choice(sorted(MM_PER_UNIT)))
    turn = _random_rotation(rng)
    scale = 1 / MM_PER_UNIT[unit]
    scan_from_source = alignment.Transform(np.asarray(scale), turn, scale * rng.normal(0, 800, 3))
    vertices = scan_from_source.apply(fused.vertices.astype(np.float64))
    return SimulatedScan(mesh.Mesh(vertices.astype(np.float32), fused.triangles), unit, scan_from_source)


def _pose(
    head: HeadModel, vertices: npt.NDArray[np.float32], settings: ScannerSettings, rng: np.random.Generator
) -> tuple[depth_camera.DepthTarget, Array]:
    """The person in front of the scanner, and the middle of the head, source frame."""
    darkness = float(rng.beta(1.2, 1.2))
    worn = headwear.sample_headwear(
        head,
        vertices,
        np.zeros(3, np.float32),
        False,
        PhotographySettings(hair_probability=settings.hair_probability, occluder_probability=0.0),
        rng,
    )
    trunk = bust.torso(vertices, vertices[head.landmarks["jaw_8"]])
    # No depth camera sees single hairs: lashes would be plates before the eyes.
    solid = head.triangles[head.part != Part.LASHES]
    pieces = [(vertices, solid, 1.0), (trunk.vertices, trunk.triangles, _CLOTH_RETURN)]
    hair = settings.hair_return + (1 - settings.hair_return) * (1 - darkness)
    pieces += [(piece.vertices, piece.triangles, hair) for piece in worn]
    starts = np.cumsum([0, *(len(points) for points, _, _ in pieces)])
    triangles = [faces + start for (_, faces, _), start in zip(pieces, starts[:-1], strict=True)]
    caster = raycast.Raycaster(np.concatenate([points for points, _, _ in pieces]), np.concatenate(triangles))
    reflectance = np.concatenate([np.full(len(faces), share) for _, faces, share in pieces])
    landmarks = vertices[[head.landmarks[name] for name in schema.IBUG68]].astype(np.float64)
    centre = landmarks.mean(axis=0) + [0.0, 0.0, 60.0]
    return depth_camera.DepthTarget(caster, reflectance), centre


def _random_rotation(rng: np.random.Generator) -> Array:
    """[3, 3], uniform over all rotations."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q
