"""A peer that many would take: eos-py fits the same 3DMM to the landmarks of each picture (the extra `eos`).

eos alternates a scaled orthographic camera and a linear least-squares fit of the coefficients, one picture at a time
(Huber et al., "A Multiresolution 3D Morphable Face Model and Fitting Framework", VISAPP 2016; the shape after Aldrian
and Smith, PAMI 2013; github.com/patrikhuber/eos, Apache-2.0); the coefficients of several pictures are averaged. Its
own loop over the two, `fit_shape_and_pose`, insists on a model of expressions, which we have none of, so the loop is
here. Wheels exist for Linux on x86-64, Python 3.10 to 3.12.
"""

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel

Array = npt.NDArray[np.floating]

ITERATIONS = 5
"""Rounds of camera and shape, as in eos."""

_EOS_FROM_MODEL = np.array([1, -1, -1], np.float32)  # eos has y up and z towards the viewer


class EosFitter:
    """Fits one 3DMM, imported into eos in memory."""

    def __init__(self, face_model: MorphableModel, vertices: npt.ArrayLike):
        """Imports a 3DMM.

        Args:
          face_model: the 3DMM.
          vertices: [L], which of its vertices the landmarks are; eos is given these alone.

        Raises:
          ModuleNotFoundError: If eos-py is not installed; says how to install it.
        """
        try:
            self._eos: Any = importlib.import_module("eos")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "eos is not installed: pip install 'tfface[eos]'; where it has no wheel, leave it out", name="eos"
            ) from error
        chosen = np.asarray(vertices)
        mean = (face_model.mean[chosen] * _EOS_FROM_MODEL).reshape(-1, 1)
        basis = (face_model.basis[:, chosen] * _EOS_FROM_MODEL).reshape(face_model.num_modes, -1)
        # eos, too, multiplies each column of the basis by the root of its eigenvalue, and needs no orthogonality.
        self._shape = self._eos.morphablemodel.PcaModel(
            mean, np.asfortranarray(basis.T), face_model.eigenvalues.reshape(-1, 1), [[0, 1, 2]]
        )
        self._vertex_ids = list(range(len(chosen)))

    def fit(self, px: npt.ArrayLike, size_hw: tuple[int, int], regularisation: float) -> Array:
        """Fits one subject.

        Args:
          px: [N, L, 2], pixel frame, landmarks in each of N pictures.
          size_hw: height and width of the pictures, px.
          regularisation: the weight of |c|^2, called lambda in eos.

        Returns:
          [K] coefficients, standard deviations: the mean of those of the pictures.

        Raises:
          ValueError: If the shape does not fit.
        """
        px = np.asarray(px, np.float32)
        if px.ndim != 3 or px.shape[1:] != (len(self._vertex_ids), 2) or not len(px):
            raise ValueError(f"px: expected the shape [N, {len(self._vertex_ids)}, 2], got {list(px.shape)}.")
        return np.mean([self._fit_view(view, size_hw, regularisation) for view in px], axis=0)

    def _fit_view(self, px: Array, size_hw: tuple[int, int], regularisation: float) -> Array:
        height, width = size_hw
        fitting, seen = self._eos.fitting, list(px)
        points = self._shape.get_mean()
        coefficients: list[float] = []
        for _ in range(ITERATIONS):
            homogeneous = np.concatenate([points.reshape(-1, 3), np.ones((len(px), 1), np.float32)], axis=1)
            pose = fitting.estimate_orthographic_projection_linear(seen, list(homogeneous), True, height)
            camera = fitting.get_3x4_affine_camera_matrix(
                fitting.RenderingParameters(pose, width, height), width, height
            )
            coefficients = fitting.fit_shape_to_landmarks_linear(
                self._shape, camera, seen, self._vertex_ids, **{"lambda": regularisation}
            )
            points = self._shape.draw_sample(coefficients)
        return np.array(coefficients)
