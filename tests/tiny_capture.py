"""A capture folder of tiny people, for the tests of what reads it."""

import json
from pathlib import Path

import numpy as np
import tiny_people

from tfface.geometry import camera, mesh, rotation

SUBJECTS, SIZE = 4, (90, 120)
PEOPLE = tiny_people.TinyPeople(SUBJECTS, seed=2)


def to_rows(array) -> list:
    return np.asarray(array, np.float64).tolist()


def write_subject(folder: Path, index: int) -> None:
    """A tiny person in a frame of its own, photographed from three sides into larger pictures."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(index)
    own_from_source = rotation.matrix_from_yaw_pitch_roll(*rng.uniform(-180, 180, 3))
    shape = PEOPLE.shape(index).astype(np.float64) @ own_from_source.T
    template = tiny_people.template()
    mesh.write_mesh(folder / "registered.ply", mesh.Mesh(shape.astype(np.float32), template.triangles))
    points = {name: to_rows(shape[vertex] + rng.normal(0, 0.5, 3)) for name, vertex in template.landmarks.items()}
    (folder / "landmarks.json").write_text(json.dumps(points))
    entries = []
    for number, view in enumerate(PEOPLE.views(index)[:3]):
        turn = rotation.matrix_from_quaternion(view.quaternion.astype(np.float64)) @ own_from_source.T
        K = np.array([[2 * view.intrinsics[0, 0], 0, 70], [0, 2 * view.intrinsics[0, 0], 41], [0, 0, 1]])
        quaternion, translation = rotation.quaternion_from_matrix(turn), view.translation.astype(np.float64)
        px = camera.project_array(shape, quaternion, translation, K)
        pixels = np.zeros((*SIZE, 3))
        for name, channel in tiny_people.BLOBS.items():
            x, y = px[template.landmarks[name]]
            pixels[..., channel] = tiny_people.blob(max(SIZE), x, y, sigma=3)[: SIZE[0], : SIZE[1]]
        (folder / "images" / f"{number}.png").write_bytes(tiny_people.png(pixels))
        entry = {"image": f"images/{number}.png", "intrinsics": to_rows(K)}
        if number:
            entry |= {"quaternion": to_rows(-quaternion), "translation": to_rows(translation)}
        else:
            entry |= {"cam_from_model": to_rows(np.concatenate([turn, translation[:, None]], axis=1))}
        entries.append(entry)
    (folder / "views.json").write_text(json.dumps(entries))
