"""Checks a whole capture folder and lists every fault with its file, before anything is computed from it."""

import collections
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from tfface import schema
from tfface.geometry import camera, mesh, rotation
from tfface.people import capture_files

COMPULSORY = (schema.EYE_OUTER_RIGHT, schema.EYE_OUTER_LEFT, schema.NOSE_TIP, "lip_outer_0", "lip_outer_6")
"""Landmarks that every subject must have: which way the face looks is read from them."""

EYE_DISTANCE = (50.0, 150.0)
"""mm, plausible distance of the outer corners of the eyes; adults have about 90."""

LANDMARK_DISTANCE = 8.0
"""mm, the farthest that a landmark may be from the nearest vertex of the registered mesh."""

LEAST_INSIDE = 0.5
"""Share of the projected vertices that must lie inside the photograph."""

LEAST_FACE_HEIGHT = 10.0
"""mm, between the line through the outer corners of the eyes and the mouth; adults have about 70."""

FARTHEST_VERTEX = 2000.0
"""mm, the farthest that a vertex of the registered mesh may be from the tip of the nose."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something wrong with a capture folder.

    Attributes:
      path: the file or folder that must be mended.
      text: what is wrong with it.
    """

    path: Path
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def check(root: str | os.PathLike[str], reading: capture_files.ExpressionReading | None = None) -> list[Fault]:
    """Reads a capture folder as a whole.

    Photographs are decoded as far as it takes to find damage, at reduced size where the format allows. Of a subject
    that is left out (`capture_files.UNREGISTERED`), only the file that says so is looked at.

    Args:
      root: the capture folder.
      reading: of expressions; by default, there must be none.

    Returns:
      Every fault, in the order of the subjects; empty if training can begin.
    """
    root, reading = Path(root), reading or capture_files.ExpressionReading()
    try:
        folders = capture_files.subject_folders(root)
    except ValueError as error:
        return [_fault(error, root)]
    left_out = [folder for folder in folders if capture_files.is_left_out(folder)]
    folders = [folder for folder in folders if folder not in left_out]
    if len(folders) < 3:
        besides = f" and {len(left_out)} left out by {capture_files.UNREGISTERED}" if left_out else ""
        return [Fault(root, f"expected at least 3 subjects, one for each split, got {len(folders)} folders{besides}")]
    faults = _faulty_markers(left_out)
    faults += [
        Fault(folder, "expected a name of printable characters") for folder in folders if not folder.name.isprintable()
    ]
    faults += _same_names(folders)
    first: tuple[Path, mesh.Mesh] | None = None
    for folder in folders:
        registered, found = _check_subject(folder, reading)
        faults += found
        if registered is None:
            continue
        path = folder / capture_files.REGISTERED
        if first is None:
            first = path, registered
        elif not np.array_equal(registered.triangles, first[1].triangles) or (
            registered.num_vertices != first[1].num_vertices
        ):
            faults.append(
                Fault(
                    path,
                    f"expected the topology of {first[0]} ({first[1].num_vertices} vertices, "
                    f"{len(first[1].triangles)} triangles), got another ({registered.num_vertices} vertices, "
                    f"{len(registered.triangles)} triangles)",
                )
            )
    return faults


def source_axes(landmarks: Mapping[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Rotation from a subject's frame to the axes of the source frame: along the eyes, from the eyes to the mouth.

    Args:
      landmarks: points [3] by name, with those that are `COMPULSORY`.

    Returns:
      [3, 3].
    """
    right, left = landmarks[schema.EYE_OUTER_RIGHT], landmarks[schema.EYE_OUTER_LEFT]
    down = (landmarks["lip_outer_0"] + landmarks["lip_outer_6"] - right - left) / 2
    x = (left - right) / np.linalg.norm(left - right)
    y = down - (down @ x) * x
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)])


def _fault(error: ValueError, path: Path) -> Fault:
    """A fault from an error whose message begins with the path."""
    return Fault(path, str(error).removeprefix(f"{path}: "))


def _faulty_markers(left_out: list[Path]) -> list[Fault]:
    faults = []
    for folder in left_out:
        path = folder / capture_files.UNREGISTERED
        try:
            capture_files.read_unregistered(path)
        except ValueError as error:
            faults.append(_fault(error, path))
    return faults


def _same_names(folders: list[Path]) -> list[Fault]:
    by_name = collections.defaultdict(list)
    for folder in folders:
        by_name[folder.name.casefold()].append(folder)
    return [
        Fault(same[1], f"differs from {same[0]} by upper and lower case only; subjects need different names")
        for same in by_name.values()
        if len(same) > 1
    ]


def _check_subject(folder: Path, reading: capture_files.ExpressionReading) -> tuple[mesh.Mesh | None, list[Fault]]:
    """The registered mesh, if it can be read, and the faults of one subject."""
    faults = []
    registered = None
    path = folder / capture_files.REGISTERED
    try:
        registered = mesh.read_mesh(path)
    except FileNotFoundError:
        faults.append(Fault(path, "not found"))
    except OSError as error:
        faults.append(Fault(path, f"cannot be read: {error.strerror}"))
    except ValueError as error:
        faults.append(_fault(error, path))
    path = capture_files.landmarks_path(folder)
    try:
        faults += _check_landmarks(capture_files.read_landmarks(path), registered, path)
    except ValueError as error:
        faults.append(_fault(error, path))
    path = folder / capture_files.VIEWS
    try:
        views = capture_files.read_views(path, reading)
    except ValueError as error:
        return registered, [*faults, _fault(error, path)]
    repeated = [image for image, count in collections.Counter(view.image for view in views).items() if count > 1]
    faults += [Fault(path, f"{image.name} is listed more than once") for image in repeated]
    for number, view in enumerate(views):
        faults += _check_view(view, number, registered, path)
    return registered, faults


def _check_landmarks(
    landmarks: dict[str, npt.NDArray[np.float64]], registered: mesh.Mesh | None, path: Path
) -> list[Fault]:
    missing = [name for name in COMPULSORY if name not in landmarks]
    if missing:
        return [Fault(path, f"these landmarks are compulsory and missing: {', '.join(missing)}")]
    distance = float(np.linalg.norm(landmarks[schema.EYE_OUTER_LEFT] - landmarks[schema.EYE_OUTER_RIGHT]))
    low, high = EYE_DISTANCE
    if not low <= distance <= high:
        unit = next(
            (unit for unit, mm in (("metres", 1000), ("centimetres", 10)) if low <= distance * mm <= high), None
        )
        hint = f"; these look like {unit}, multiply everything (translations too)" if unit else ""
        return [Fault(path, f"expected {low:g}..{high:g} mm between the outer eye corners, got {distance:.4g}{hint}")]
    if _face_height(landmarks) < LEAST_FACE_HEIGHT:
        return [Fault(path, f"expected the mouth at least {LEAST_FACE_HEIGHT:g} mm away from the line of the eyes")]
    nose = source_axes(landmarks) @ (landmarks[schema.NOSE_TIP] - landmarks[schema.EYE_OUTER_LEFT])
    if nose[2] >= 0:
        return [Fault(path, "the tip of the nose lies behind the eyes: left and right, or an axis, are swapped")]
    if registered is None:
        return []
    farthest = float(np.abs(registered.vertices.astype(np.float64) - landmarks[schema.NOSE_TIP]).max())
    if farthest > FARTHEST_VERTEX:
        return [Fault(path.with_name(capture_files.REGISTERED), f"a vertex is {farthest:.4g} mm away from the nose")]
    distances = cKDTree(registered.vertices).query(np.stack(list(landmarks.values())))[0]
    return [
        Fault(path, f"{name} is {distance:.1f} mm away from the vertices of {capture_files.REGISTERED}")
        for name, distance in zip(landmarks, distances, strict=True)
        if distance > LANDMARK_DISTANCE
    ]


def _face_height(landmarks: Mapping[str, npt.NDArray[np.float64]]) -> float:
    """Distance between the mouth and the line through the outer corners of the eyes, mm."""
    right, left = landmarks[schema.EYE_OUTER_RIGHT], landmarks[schema.EYE_OUTER_LEFT]
    mouth = (landmarks["lip_outer_0"] + landmarks["lip_outer_6"]) / 2
    return float(np.linalg.norm(np.cross(mouth - right, left - right)) / np.linalg.norm(left - right))


def _check_view(view: capture_files.CapturedView, number: int, registered: mesh.Mesh | None, path: Path) -> list[Fault]:
    try:
        with capture_files.open_image(view.image) as image:
            width, height = image.size
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
    except ValueError as error:
        return [_fault(error, view.image)]
    if registered is None:
        return []
    points = registered.vertices.astype(np.float64)
    depth = (points @ rotation.matrix_from_quaternion(view.quaternion).T + view.translation)[:, 2]
    if depth.min() <= schema.MIN_DEPTH:
        return [Fault(path, f"view {number}: the face is behind the camera or in it, depth {depth.min():.4g} mm")]
    px = camera.project_array(points, view.quaternion, view.translation, view.intrinsics)
    inside = float(((px >= 0) & (px <= [width, height])).all(axis=1).mean())
    if inside < LEAST_INSIDE:
        where = px.mean(axis=0)
        return [
            Fault(
                path,
                f"view {number}: {inside:.0%} of the face projects into {view.image.name} ({width} x {height}); its "
                f"centre is at ({where[0]:.0f}, {where[1]:.0f})",
            )
        ]
    return []
