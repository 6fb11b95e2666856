"""What is known of a person before any point is seen: the population's spread, or a network's estimate and error."""

import dataclasses

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

NETWORK_ERROR_VARIANCE = 0.7
"""Of each coefficient of a network's estimate, in those of the population's, where nobody has measured it."""


@dataclasses.dataclass(frozen=True, eq=False)
class IdentityPrior:
    """A normal distribution of the identity coefficients.

    Attributes:
      mean: ``[K]``, standard deviations of the 3DMM.
      precision: ``[K, K]``, inverse of the covariance.

    Raises:
      ValueError: If the shapes do not agree or the precision is not symmetric and positive definite.
    """

    mean: Array
    precision: Array

    def __post_init__(self) -> None:
        mean, precision = np.asarray(self.mean, np.float64), np.asarray(self.precision, np.float64)
        if mean.ndim != 1 or precision.shape != (len(mean), len(mean)):
            raise ValueError(f"precision: expected the shape {[len(mean)] * 2}, got {list(precision.shape)}")
        if not np.isfinite(mean).all() or not np.allclose(precision, precision.T, rtol=1e-5, atol=1e-8):
            raise ValueError("precision: expected a symmetric matrix, and a mean of finite numbers")
        if np.linalg.eigvalsh(precision)[0] <= 0:
            raise ValueError("precision: expected a positive definite matrix")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "precision", precision)

    @classmethod
    def of_population(cls, num_modes: int) -> "IdentityPrior":
        """What the 3DMM itself says: coefficients are standard normal."""
        return cls(np.zeros(num_modes), np.eye(num_modes))

    @classmethod
    def of_estimate(cls, estimate: npt.ArrayLike, error_covariance: npt.ArrayLike) -> "IdentityPrior":
        """What a network says.

        Args:
          estimate: ``[K]``, the network's coefficients.
          error_covariance: ``[K, K]``, of truth minus estimate, measured on people whom it was not trained on.

        Raises:
          ValueError: If the covariance is not symmetric and positive definite.
        """
        covariance = np.asarray(error_covariance, np.float64)
        try:
            np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as error:
            raise ValueError("error_covariance: expected a positive definite matrix") from error
        precision = np.linalg.inv(covariance)
        return cls(np.asarray(estimate, np.float64), (precision + precision.T) / 2)


def error_covariance(truth: npt.ArrayLike, estimates: npt.ArrayLike, shrinkage: float = 0.1) -> Array:
    """Covariance ``[K, K]`` of a network's errors, its off-diagonal part shrunk, as few people give a noisy one.

    Args:
      truth: ``[M, K]``, true coefficients.
      estimates: ``[M, K]``, the network's, of the same people.
      shrinkage: 0 keeps the sample covariance, 1 its diagonal alone.

    Raises:
      ValueError: If the shapes do not agree or there are fewer than two people.
    """
    errors = np.asarray(truth, np.float64) - np.asarray(estimates, np.float64)
    if errors.ndim != 2 or len(errors) < 2:
        raise ValueError(f"truth: expected the shape [M, K] with M of 2 or more, got {list(errors.shape)}")
    covariance = errors.T @ errors / len(errors)  # about zero: a bias is an error too
    return (1 - shrinkage) * covariance + shrinkage * np.diag(np.diag(covariance))
