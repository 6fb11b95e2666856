"""A face found in a photograph, and its crop for a model: all that comes before the network."""

import concurrent.futures
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.photographs import face_crop, photograph, video
from tfface.photographs.cameras import CameraSet, PosedCamera
from tfface.photographs.cameras.distortion import undistort
from tfface.photographs.detector import DetectedFace, Detector, find_faces
from tfface.photographs.landmark_sources import LandmarkSource, SeenPoints
from tfface.photographs.lens import FROM_CAMERAS, Lens
from tfface.photographs.photograph import Photograph
from tfface.reconstruction.input_files import Person
from tfface.reconstruction.predictor import Crop

Array = npt.NDArray[np.floating]

LARGEST, ALL = "largest", "all"
LEAST_SHARE = 0.5
"""Of a video's frames, which have to show a face."""


@dataclasses.dataclass(frozen=True, eq=False)
class CroppedFace:
    """A face in a photograph and its crop.

    Attributes:
      photograph: The photograph.
      intrinsics: K [3, 3] of its pixels.
      intrinsics_from: Where they come from, one of those in `lens`.
      face: The face.
      camera: Of the crop.
      crop: [S, S, 3] uint8, RGB.
      crop_intrinsics: K [3, 3] of the crop.
      given: The photograph's camera as it was given; None if none was.
      points: That a landmark source found; None if none was asked, or it found none.
    """

    photograph: Photograph
    intrinsics: Array
    intrinsics_from: str
    face: DetectedFace
    camera: face_crop.CropCamera
    crop: npt.NDArray[np.uint8]
    crop_intrinsics: Array
    given: PosedCamera | None = None
    points: SeenPoints | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class PersonCrops:
    """The faces that the files of a person show.

    Attributes:
      name: Of the person.
      found: The faces, in the order of the files.
      faults: One line for each file that shows none, or cannot be read.
    """

    name: str
    found: tuple[CroppedFace, ...]
    faults: tuple[str, ...]

    @property
    def crops(self) -> list[Crop]:
        """What a model sees of the faces."""
        return [Crop(face.crop, face.crop_intrinsics) for face in self.found]


@dataclasses.dataclass(frozen=True)
class CropSettings:
    """How faces are found in photographs and cropped.

    Attributes:
      size: Side of the model's crops, px.
      detector: Finds faces.
      lens: What is known of the cameras.
      face: ``largest``, ``all``, or the number of a face, counted from 0 and from left to right.
      max_pixels: That a photograph may have.
      frames: Of a video, at most.
      cameras: Of the photographs; None if none are given.
      told: Takes each face as it is found, in the thread that found it.
      source: Looks for points of each face; None if nobody asks for them, or the model finds them.

    Raises:
      ValueError: If the face is none of these.
    """

    size: int
    detector: Detector
    lens: Lens
    face: str
    max_pixels: int
    frames: int
    cameras: CameraSet | None = None
    told: Callable[["CroppedFace"], None] | None = None
    source: LandmarkSource | None = None

    def __post_init__(self) -> None:
        if self.face not in (LARGEST, ALL) and not self.face.isdecimal():
            raise ValueError(f"face: expected {LARGEST}, {ALL} or a number from 0, got {self.face!r}")


def crop_faces(person: Person, how: CropSettings, workers: int = 1) -> list[PersonCrops]:
    """Reads the files of a person, finds the face in each and takes its crop.

    Args:
      person: Whose files.
      how: How faces are found and cropped.
      workers: Files that are read at a time.

    Returns:
      One, or with ``all`` one for every face, named ``person-number``.
    """
    if not person.files:
        fault = person.fault or "holds no photograph and no video"
        return [PersonCrops(person.name, (), (files.printable(f"{person.folder}: {fault}"),))]
    if how.face == ALL and (len(person.files) > 1 or _is_video(person.files[0])):
        fault = f"{person.name}: face=all goes with one photograph a person: whose faces belong together is not known"
        return [PersonCrops(person.name, (), (fault,))]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        seen = list(pool.map(lambda path: _in_file(path, how), person.files))
    found = tuple(one for faces, _ in seen for one in faces)
    faults = tuple(fault for _, fault in seen if fault)
    if how.face == ALL and len(found) > 1:
        return [PersonCrops(f"{person.name}-{number}", (one,), ()) for number, one in enumerate(found)]
    return [PersonCrops(person.name, found, faults)]


def _in_file(path: Path, how: CropSettings) -> tuple[list[CroppedFace], str]:
    """The faces of a file, or what is wrong with it."""
    try:
        if not _is_text(path):  # neither JSON nor a page could name it
            raise ValueError(f"{path}: its name is not UTF-8; rename it")
        return (_in_video(path, how) if _is_video(path) else _in_photograph(path, how)), ""
    except ValueError as error:
        return [], files.printable(error)
    except MemoryError:
        return [], files.printable(f"{path}: does not fit into memory")


def _is_text(path: Path) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in str(path))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in video.SUFFIXES


def _in_photograph(path: Path, how: CropSettings) -> list[CroppedFace]:
    picture = photograph.read(path, how.max_pixels)
    given = None if how.cameras is None else how.cameras.of(path)
    if given is not None:
        upright = given.upright((picture.pixels.shape[0], picture.pixels.shape[1]), picture.orientation)
        pixels = undistort(picture.pixels, upright.intrinsics, upright.distortion)
        picture = dataclasses.replace(picture, pixels=pixels)
    faces = find_faces(picture.pixels, how.detector)
    if not faces:
        raise ValueError(f"{path}: no face found")
    return [cropped(picture, face, how, given) for face in _chosen(faces, how.face, str(path))]


def _in_video(path: Path, how: CropSettings) -> list[CroppedFace]:
    if how.cameras is not None:
        raise ValueError(f"{path}: cameras are of photographs; name the frames that they were computed from")
    frames = video.read(path, how.max_pixels, how.frames)
    found = []
    for frame in frames:
        faces = find_faces(frame.pixels, how.detector)
        if faces:
            found += [cropped(frame, face, how) for face in _chosen(faces, how.face, frame.name)]
    if len(found) < LEAST_SHARE * len(frames):
        raise ValueError(
            f"{path}: a face in only {len(found)} of {len(frames)} frames, expected one in at least "
            f"{LEAST_SHARE:.0%}; cut it to where the person is"
        )
    return found


def _chosen(faces: list[DetectedFace], which: str, where: str) -> list[DetectedFace]:
    if which == ALL:
        return faces
    if which == LARGEST:
        return [max(faces, key=lambda face: face.area)]
    if int(which) >= len(faces):
        raise ValueError(f"{where}: face {which} was asked for, counted from 0, but it shows {len(faces)}")
    return [faces[int(which)]]


def cropped(
    picture: Photograph, face: DetectedFace, how: CropSettings, given: PosedCamera | None = None
) -> CroppedFace:
    """Takes the crop of a face.

    Args:
      picture: Shows it; undistorted if its camera is given.
      face: Found in it.
      how: Size of the crop, and what is known of the lens.
      given: The photograph's camera; None if none is given.

    Raises:
      ValueError: naming the photograph, if the face is no place, or its crop reaches behind the camera.
    """
    if given is None:
        intrinsics, source = how.lens.intrinsics(picture)
    else:
        upright_hw = picture.pixels.shape[0], picture.pixels.shape[1]
        intrinsics, source = given.upright(upright_hw, picture.orientation).intrinsics, FROM_CAMERAS
    try:
        camera = face_crop.face_camera(face, intrinsics)
        crop, crop_intrinsics = face_crop.take(picture.pixels, intrinsics, camera, how.size)
    except ValueError as error:
        raise ValueError(f"{picture.name}: {error}") from error
    points = None if how.source is None else how.source(picture.pixels, intrinsics, camera)
    found = CroppedFace(picture, intrinsics, source, face, camera, crop, crop_intrinsics, given, points)
    if how.told is not None:
        how.told(found)
    return found
