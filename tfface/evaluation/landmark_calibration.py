"""Where MediaPipe's points lie on ICT-FaceKit's surface, and how far off they are: measured on rendered people."""

import io
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from tfface.data import selection
from tfface.face import import_model, register
from tfface.face.registration.scan_surface import ScanSurface, barycentric
from tfface.fitting import calibrated_points
from tfface.fitting.calibrated_points import CalibratedPoints
from tfface.geometry import camera, mesh, rotation
from tfface.people import PeopleSource, View, open_source
from tfface.people.photographer import SAMPLED, PhotographySettings
from tfface.photographs.face_landmarker import FaceLandmarker
from tfface.photographs.mediapipe_landmarks import NUM_POINTS

Array = npt.NDArray[np.floating]

YAW_BOUNDS = (15.0, 30.0, 45.0)
_MM_PER_CM = 10.0
_FARTHEST = 1.0
"""mm from the registered surface, beyond which a point of the canonical face (such as an inner lid) is left out."""
_SETTINGS = PhotographySettings(image_size=288, num_views=2, margin=0.9, expressions=SAMPLED)


def measure(ict_facekit: str, canonical: str, landmarker: FaceLandmarker, people: int, seed: int) -> CalibratedPoints:
    """Registers the canonical face, renders people with expressions, and calibrates (`calibrated_points.calibrate`).

    Args:
      ict_facekit: A checkout of ICT-FaceKit.
      canonical: MediaPipe's ``canonical_face_model.obj``.
      landmarker: MediaPipe's, for one face.
      people: How many, two photographs each.
      seed: Of shapes and photographs.

    Raises:
      ValueError: If a file is damaged, or too few faces are found.
    """
    index, vertices, weights = _embedding(ict_facekit, canonical)
    found, true, jacobians, yaws = [], [], [], []
    source = open_source("ict", directory=ict_facekit, num_subjects=people, seed=seed, settings=_SETTINGS)
    for picture, posed, view in _photographs(source):
        landmarks = landmarker(picture)
        if not len(landmarks):
            continue
        points = np.einsum("qi,qic->qc", weights, posed[vertices])
        found.append(landmarks[0, index])
        true.append(camera.project_array(points, view.quaternion, view.translation, view.intrinsics))
        # The scaled orthographic camera's: f / z times the first two rows of the rotation.
        turn = rotation.matrix_from_quaternion(np.asarray(view.quaternion, np.float64))
        jacobians.append(view.intrinsics[0, 0] / view.translation[2] * turn[:2])
        yaws.append(float(selection.yaws(view.quaternion)))
    if not found:
        raise ValueError(f"landmarks: expected faces in {2 * people} photographs, got none")
    measured = calibrated_points.calibrate(
        np.stack(found), np.stack(true), np.stack(jacobians), np.array(yaws), YAW_BOUNDS
    )
    offsets, deviations, independent = measured
    tqdm.write(f"{len(found)} photographs; the {len(index)} points come to {independent:.1f} independent ones")
    template = source.template
    return CalibratedPoints(
        topology=calibrated_points.topology_of(template.triangles),
        index=index,
        vertices=vertices,
        weights=weights,
        offsets=offsets,
        deviations=deviations,
        yaw_bounds=np.array(YAW_BOUNDS),
        mean=np.einsum("qi,qic->qc", weights, template.vertices[vertices].astype(np.float64)),
        landmarks={name: template.vertices[vertex] for name, vertex in template.landmarks.items()},
    )


def _embedding(ict_facekit: str, canonical: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
    """Which of the points lie on the face, [Q], and where: corners [Q, 3] and barycentric coordinates [Q, 3]."""
    read = mesh.read_mesh(os.fspath(canonical))
    if len(read.vertices) != NUM_POINTS:
        raise ValueError(f"{canonical}: expected {NUM_POINTS} vertices, got {len(read.vertices)}")
    points = np.asarray(read.vertices, np.float64) * (_MM_PER_CM, -_MM_PER_CM, -_MM_PER_CM)
    model = import_model(ict_facekit)
    registered = register(mesh.Mesh(points.astype(np.float32), read.triangles, {}), model)
    closest = ScanSurface(mesh.Mesh(registered, model.triangles, {})).closest(points)
    index = np.flatnonzero(closest.distances < _FARTHEST)
    corners = np.asarray(model.triangles)[closest.triangle[index]]
    weights = barycentric(closest.points[index], *np.moveaxis(registered[corners].astype(np.float64), 1, 0))
    return index, corners, weights


def _photographs(source: PeopleSource) -> Iterator[tuple[npt.NDArray[np.uint8], Array, View]]:
    """Pictures [H, W, 3], the shapes [P, 3] that they show, and their views."""
    expressions = source.template.expressions
    assert expressions is not None
    for number in tqdm(range(len(source)), desc="rendered people", unit="person"):
        shape = source.shape(number)
        for view in source.views(number):
            picture = np.asarray(Image.open(io.BytesIO(view.image)).convert("RGB"))
            assert view.expressions is not None
            yield picture, shape + expressions.displacement(view.expressions), view
