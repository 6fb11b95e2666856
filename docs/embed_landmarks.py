"""Makes tfface/assets/mediapipe_points.npz: MediaPipe's canonical face, and where its vertices lie on a 3DMM.

    python docs/embed_landmarks.py canonical_face_model.obj people/face_model.h5

The first is MediaPipe's (Apache-2.0), with landmark i as vertex i, cm, y up; the second that of records which
`tfface.prepare --source=ict` made.
"""

import sys

import numpy as np
import trimesh

from tfface import files
from tfface.face import MorphableModel
from tfface.photographs import mediapipe_landmarks

MM_FROM_CM = 10
AXES = np.array([1.0, -1, -1])
"""Of the model frame, for y up and facing +z."""


def main(obj: str, model: str) -> None:
    """Writes the file."""
    face_model = MorphableModel.load(model)
    face = trimesh.load(obj, process=False, maintain_order=True)
    canonical = MM_FROM_CM * AXES * np.asarray(face.vertices)
    triangles = np.asarray(face.faces)
    vertices, weights = mediapipe_landmarks.places_on(face_model, canonical, triangles)
    arrays = {
        "canonical": canonical.astype(np.float32),
        "triangles": triangles.astype(np.int16),
        "vertices": vertices.astype(np.int16),
        "weights": weights.astype(np.float32),
        "num_vertices": np.int64(face_model.num_vertices),
    }
    with files.written(mediapipe_landmarks.FILE) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
