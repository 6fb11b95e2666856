"""Scans for tests: a head of known shape with another topology, in any pose, without the cost of the scanner."""

import functools
import os
import signal
import time

import numpy as np

from tfface.face import MorphableModel, build
from tfface.face.register import PreparedTemplate, RegistrationSettings
from tfface.face.registration import smooth_prior
from tfface.geometry import alignment, mesh, rotation
from tfface.people.anthropometric import AnthropometricPeople
from tfface.scans import bust, registering

PEOPLE = AnthropometricPeople(40, seed=3)


def template() -> mesh.Mesh:
    """The mean face with its landmarks."""
    face = PEOPLE.template
    return mesh.Mesh(face.vertices, face.triangles, face.landmarks)


def quick() -> RegistrationSettings:
    """Settings of a smooth prior that is soon made."""
    return RegistrationSettings(smooth=smooth_prior.SmoothPriorSettings(modes=60, samples=300))


@functools.cache
def prior() -> MorphableModel:
    """A 3DMM of people none of whom is scanned."""
    others = AnthropometricPeople(150, seed=8)
    shapes = np.stack([others.shape(index) for index in range(len(others))])
    face = PEOPLE.template
    return build(shapes, face.triangles, face.landmarks, face.symmetry, modes=40, reference=face.vertices)


def pose(seed: int) -> alignment.Transform:
    """A rigid motion somewhere among all rotations."""
    rng = np.random.default_rng(seed)
    quaternion = rng.standard_normal(4)
    turn = rotation.matrix_from_quaternion(quaternion / np.linalg.norm(quaternion))
    return alignment.Transform(np.ones(()), np.asarray(turn, np.float64), rng.normal(0, 300, 3))


@functools.cache
def bust_of(index: int, *, fine: bool = True) -> mesh.Mesh:
    """Head with shoulders, each triangle cut in four if `fine`, source frame, mm, with a little noise."""
    head, vertices = PEOPLE.head, PEOPLE.head_shape(index)
    trunk = bust.torso(vertices, vertices[head.landmarks["jaw_8"]])
    skin = np.concatenate((head.triangles, trunk.triangles + len(vertices)))
    points, triangles = np.concatenate((vertices, trunk.vertices)).astype(np.float64), skin
    if fine:
        points, triangles = subdivided(points, triangles)
    return mesh.Mesh(points + np.random.default_rng(index).normal(0, 0.05, points.shape), triangles)


def subdivided(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A mesh with each triangle cut in four."""
    edges, number = np.unique(
        np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0, return_inverse=True
    )
    ab, bc, ca = (len(vertices) + number.reshape(-1, 3)).T
    a, b, c = triangles.T
    fine = np.concatenate([np.stack(t, axis=-1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    return np.concatenate((vertices, vertices[edges].mean(axis=1))), fine.astype(np.int32)


def moved(scan: mesh.Mesh, motion: alignment.Transform) -> mesh.Mesh:
    """The scan in another frame."""
    return mesh.Mesh(motion.apply(np.asarray(scan.vertices, np.float64)), scan.triangles)


class CrashingPlan(registering.Plan):
    """Whoever registers a scan that can be read crashes, as a library written in C may."""

    @property
    def prepared(self) -> PreparedTemplate:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError("lives on")


class EndlessPlan(registering.Plan):
    """Whoever registers a scan that can be read never ends."""

    @property
    def prepared(self) -> PreparedTemplate:
        time.sleep(3600)
        raise AssertionError("an hour has passed")
