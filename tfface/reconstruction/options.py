"""The options of a reconstruction: `tfface.reconstruct`'s flags."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from tfface.options import Options, option, required
from tfface.photographs.landmark_sources import AUTO, SOURCES

MESH, OVERLAYS, TURNTABLE, MAPS, PAGE, USDZ = OUTPUTS = ("mesh", "overlays", "turntable", "maps", "page", "usdz")
"""Textured meshes (GLB, OBJ, PLY); mesh over each photograph; the face as it turns; depth, normals and mask of each
photograph; a page to look at; the avatar as USDZ."""

ON, OFF = "on", "off"
HELD, REFINED = "held", "refined"
MTCNN, MEDIAPIPE = DETECTORS = ("mtcnn", "mediapipe")
"""What finds faces: the extra `reconstruct`, or `mediapipe`, which is ten times as fast and for large faces."""


def _fit() -> Any:
    return option(
        ON,
        "Adjust shape, expressions and poses to points in all photographs of a person (bundle adjustment), if there is "
        "a source of points.",
        choices=(ON, OFF),
    )


def _reframe() -> Any:
    return option(
        ON,
        "Ask the model once for each crop that the detector frames, and frame it anew around the answer.",
        choices=(ON, OFF),
    )


def _landmark_source() -> Any:
    return option(
        AUTO,
        "Where the points come from: network (the model's own), mediapipe (the extra mediapipe), or auto, the first of "
        "them that is at hand.",
        choices=(AUTO, *SOURCES),
    )


def _face_landmarker() -> Any:
    return option(
        "",
        "MediaPipe's model, face_landmarker.task, or download to fetch it; by default FACE_LANDMARKER_TASK names it.",
    )


def _detector() -> Any:
    return option(
        MTCNN, "What finds faces: mtcnn, or mediapipe, which is faster and for large faces.", choices=DETECTORS
    )


NEUTRAL, PHOTOGRAPH = "neutral", "photograph"
POSES = (NEUTRAL, PHOTOGRAPH)
"""Which expression the mesh of an avatar has at rest: none, or that of the most frontal photograph."""

TEXTURE_SIZE = 1024
"""Texels along each side of a texture."""


@dataclasses.dataclass(frozen=True)
class ReconstructionOptions(Options):
    """What to reconstruct, and how."""

    command: ClassVar[str] = "tfface.reconstruct"

    images: Sequence[str] = required(
        "Photographs, videos, patterns or folders; a folder of folders holds a person in each."
    )
    out: str = required("Folder to write: for one person its files, for several a folder for each, and results.jsonl.")
    model: str | None = option(
        None, "A trained model (.keras), or its address, https://...#sha256=...; by default the one of the package."
    )
    server: str = option(
        "", "host:port of a server's gRPC to ask instead of loading a model; name its --face_model too."
    )
    model_name: str = option("default", "Name of the model that the server serves.")
    face_model: str | None = option(None, "3DMM (.h5, or .keras with it) of the model that the server serves.")
    single_view_model: str = option(
        "", "Single view model beside a multi view one: estimates yaws, helps out if alone."
    )
    each: bool = option(False, "Every photograph is another person.")
    face: str = option("largest", "Which face: largest, all, or its number from 0, from left to right.")
    fov: float = option(0.0, "Field of view along the diagonal in degrees; 0 asks the photograph.", lower=0, upper=180)
    intrinsics: str = option("", "JSON file with K: 3x3 for all photographs, or views.json of a capture folder.")
    cameras: str = option(
        "",
        "Cameras of the photographs with their poses: a folder of COLMAP's (text or binary), nerfstudio's "
        "transforms.json or views.json. Distortion is undone, and the face goes out in their frame too.",
    )
    camera_poses: str = option(
        HELD, "Whether the cameras' poses are held, or refined in the adjustment.", choices=(HELD, REFINED)
    )
    scene_unit: float = option(
        0.0, "Millimetres in the unit of the cameras' scene, which then tell the size; 0 if nobody knows.", lower=0
    )
    scale: str = option(
        "",
        "What was measured, and tells the size: a distance on the face, pupils:63, eye_corners:90 or "
        "LANDMARK,LANDMARK:MM, or an object beside it, PHOTOGRAPH:X,Y,X,Y:MM with its ends in pixels. It yields to "
        "cameras in a known unit.",
    )
    average: int = option(1, "Predictions from different choices of photographs to average; the paper's is 5.", lower=1)
    frames: int = option(30, "Frames of a video to look at, at most.", lower=1)
    max_pixels: int = option(
        1 << 27,  # 134 megapixels, which take 0.4 GB
        "Pixels that a photograph may have; its header is asked before it is decoded.",
        lower=1,
    )
    batch_size: int = option(32, "Predictions at a time.", lower=1)
    workers: int = option(0, "Threads that read and write; 0 means one a core.", lower=0)
    outputs: Sequence[str] = option(
        (MESH, OVERLAYS, TURNTABLE, PAGE),
        "What to write beside reconstruction.json: mesh (GLB, OBJ, PLY), overlays, turntable, maps (depth, normals, "
        "mask), page (HTML), usdz (the avatar for AR Quick Look; extra usd); nothing else if empty.",
        choices=OUTPUTS,
    )
    pose: str = option(
        NEUTRAL,
        "Expression that the avatar has at rest: neutral, or that of the most frontal photograph.",
        choices=POSES,
    )
    texture_size: int = option(TEXTURE_SIZE, "Texels along each side of the texture.", lower=16, upper=8192)
    reframe: str = _reframe()
    fit: str = _fit()
    landmark_source: str = _landmark_source()
    face_landmarker: str = _face_landmarker()
    detector: str = _detector()


@dataclasses.dataclass(frozen=True)
class PhotographEvaluationOptions(Options):
    """Which models to measure on which photographs."""

    command: ClassVar[str] = "tfface.evaluate_photographs"

    photographs: str = required("Folder of photographs.")
    landmarks: str = required(
        "JSON file of marked landmarks by path in that folder ({path: {landmarks68, yaw}}), or a folder of iBUG's .pts "
        "files, which may be the same."
    )
    models: Sequence[str] = required("Models to measure, as name=path (.keras, or starter).")
    out: str = required("Folder to write; predictions that are there are kept.")
    identities: str = option("", "JSON file of who is on which photographs ({person: [paths]}).")
    fov: float = option(0.0, "Field of view along the diagonal in degrees; 0 asks the photograph.", lower=0, upper=180)
    batch_size: int = option(16, "Photographs at a time.", lower=1)
    reframe: str = _reframe()
    fit: str = _fit()
    landmark_source: str = _landmark_source()
    face_landmarker: str = _face_landmarker()
    detector: str = _detector()
