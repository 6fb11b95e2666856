"""Depth frames of a structured-light camera: noise that grows with the square of the distance, and its blind spots."""

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from tfface.geometry import camera, mesh, raycast, rotation
from tfface.scans.scanner_settings import ScannerSettings

Array = npt.NDArray[np.floating]

_PATCH = 2.0
"""px: how far the pixels of dark hair that return no light hang together."""


@dataclasses.dataclass(frozen=True, eq=False)
class DepthTarget:
    """What stands before the camera.

    Attributes:
      caster: its surface, mm, source frame.
      reflectance: [F], share of the pixels that each triangle returns light to.
    """

    caster: raycast.Raycaster
    reflectance: Array


@dataclasses.dataclass(frozen=True, eq=False)
class DepthFrame:
    """One frame and where the scanner believes to have been.

    Attributes:
      depth: [H, W] float32, mm, z in the camera frame; 0 where there is none.
      intrinsics: [3, 3], px_from_cam.
      quaternion: [4], cam_from_source as the scanner tracked it.
      translation: [3], mm, cam_from_source as the scanner tracked it.
    """

    depth: npt.NDArray[np.float32]
    intrinsics: Array
    quaternion: Array
    translation: Array


def intrinsics_of(settings: ScannerSettings) -> Array:
    """[3, 3] float64, px_from_cam of the depth frames."""
    return camera.intrinsics_from_fov(settings.size_hw, settings.fov).astype(np.float64)


def measure(
    subject: DepthTarget, quaternion: Array, translation: Array, settings: ScannerSettings, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """The depth that the camera measures.

    With the disparity d = f b / z: z' = f b / round((d + noise) / step) step. The noise is correlated over neighbouring
    pixels, as matching windows overlap. (Khoshelham and Elberink, "Accuracy and resolution of Kinect depth data for
    indoor mapping applications", Sensors 12(2), 2012, Eq. 5-6.)

    Args:
      subject: what is seen.
      quaternion: [4], cam_from_source.
      translation: [3], mm, cam_from_source.
      settings: of the scanner.
      rng: source of randomness.

    Returns:
      [H, W] float32, mm; 0 where there is no depth.
    """
    intrinsics = intrinsics_of(settings)
    seen = raycast.raster(subject.caster, quaternion, translation, intrinsics, settings.size_hw)
    measured = seen.triangle >= 0
    rows, columns = np.nonzero(measured)
    triangle, depth = seen.triangle[rows, columns], seen.depth[rows, columns].astype(np.float64)

    cam_from_source = rotation.matrix_from_quaternion(np.asarray(quaternion, np.float64))
    sights = camera.rays_from_px(np.stack((columns, rows), axis=-1) + 0.5, intrinsics)
    points = (sights * depth[:, None] - translation) @ cam_from_source
    normals = (
        mesh.triangle_normals(
            subject.caster.vertices[subject.caster.triangles[triangle]].reshape(-1, 3),
            np.arange(3 * len(triangle)).reshape(-1, 3),
        )
        @ cam_from_source.T
    )
    cosine = np.abs(np.einsum("sk,sk->s", normals, sights)) / np.linalg.norm(sights, axis=1)
    none, everything = settings.grazing_cosine
    kept = rng.random(len(triangle)) < (cosine - none) / (everything - none)

    patches = scipy.ndimage.gaussian_filter(rng.standard_normal(settings.size_hw), _PATCH)
    rank = scipy.stats.norm.cdf(patches / patches.std())
    kept &= rank[rows, columns] < subject.reflectance[triangle]

    projector = (np.array([settings.baseline, 0.0, 0.0]) - translation) @ cam_from_source
    kept &= subject.caster.visible(points, projector, tolerance=1.0)

    focal = intrinsics[0, 0]
    disparity = focal * settings.baseline / depth + _noise(settings, rng)[rows, columns]
    disparity = np.maximum(np.round(disparity / settings.disparity_step), 1) * settings.disparity_step
    frame = np.zeros(settings.size_hw, np.float32)
    frame[rows[kept], columns[kept]] = focal * settings.baseline / disparity[kept]
    return frame


def _noise(settings: ScannerSettings, rng: np.random.Generator) -> Array:
    """[H, W], px of disparity."""
    white = rng.standard_normal(settings.size_hw)
    smooth = scipy.ndimage.gaussian_filter(white, settings.noise_window) if settings.noise_window else white
    return smooth * (settings.disparity_deviation / smooth.std())


def trajectory(
    centre: Array, settings: ScannerSettings, rng: np.random.Generator
) -> tuple[list[tuple[Array, Array]], list[tuple[Array, Array]]]:
    """A way around a head, upright and looking at it with an unsteady hand.

    Args:
      centre: [3], mm, source frame, of the head.
      settings: of the scanner.
      rng: source of randomness.

    Returns:
      Poses (quaternion [4], translation [3]), cam_from_source, frame by frame: the true ones, and those that the
      scanner tracks, whose error walks at random.
    """
    share = np.linspace(-1, 1, settings.frames) if settings.frames > 1 else np.zeros(1)
    azimuths = settings.azimuth * share + rng.normal(0, 3, settings.frames)
    elevations = settings.elevation * np.sin(np.pi * (2 * share + rng.uniform(-1, 1)))
    near, far = settings.distance_range
    middle, reach = (near + far) / 2, (far - near) / 2
    distances = middle + reach * np.sin(np.pi * (1.3 * share + rng.uniform(-1, 1)))
    true: list[tuple[Array, Array]] = []
    tracked: list[tuple[Array, Array]] = []
    error_turn, error_shift = np.zeros(3), np.zeros(3)
    for azimuth, elevation, distance in zip(azimuths, elevations, distances, strict=True):
        # A camera on the head's right sees what turning the head by +yaw shows.
        cam_from_source = rotation.matrix_from_yaw_pitch_roll(azimuth, elevation, rng.normal(0, 3))
        aim = np.append(rng.normal(0, 10, 2), distance)
        translation = aim - cam_from_source @ centre
        true.append((rotation.quaternion_from_matrix(cam_from_source), translation))
        error_turn = error_turn + rng.normal(0, settings.drift[0], 3)
        error_shift = error_shift + rng.normal(0, settings.drift[1], 3)
        turn = rotation.matrix_from_yaw_pitch_roll(*error_turn)
        # The error turns the scanned world about the head's centre, where the tracking looks.
        wrong = cam_from_source @ turn
        tracked.append((rotation.quaternion_from_matrix(wrong), aim + error_shift - wrong @ centre))
    return true, tracked
