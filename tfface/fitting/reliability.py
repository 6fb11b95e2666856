"""How far a network's estimates of a person are to be believed, and what several of them say together.

A network that has learnt to err little says less than it sees: its estimate from one photograph lies between the mean
face and the person. The mean of N estimates therefore stays too near to the mean face, however many there are, though
their errors partly cancel. With the second moments of estimates and truth, measured on people whom the network was not
trained on, the person is the linear least-mean-square estimate from all N, with the covariance of its error (Kay,
"Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, section 12.3):

    z = mean(z) + C G (p - mean(p)),   cov = cov(z) - C G C^T,
    C = cov(z, p_i),   G = (cov(p_i, p_j) + (cov(p_i) - cov(p_i, p_j)) / N)^-1

where p is the mean of the estimates p_i. What photographs of one person get wrong alike, cov(p_i, p_j), stays.

Some photographs it sees badly: through hair, in hard light, blurred. A network that finds points says so by their
deviations, and moments are measured on people whom it doubts less and on those whom it doubts more than the median.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tfface import files
from tfface.fitting.priors import NETWORK_ERROR_VARIANCE, IdentityPrior

Array = npt.NDArray[np.floating]

SUFFIX = ".reliability.npz"
"""Of the file that lies beside a model's, in place of its own suffix."""
SHRINKAGE = 0.5
_LEAST_VARIANCE = 0.01
"""Of the person's along any direction, however many photographs there are."""
_FEWEST = 200
"""People who are told apart by doubt: each half has moments of its own."""
_MAX_BYTES = 1 << 26
_VECTORS, _MATRICES = ("estimate_mean", "truth_mean"), ("truth", "with_truth", "alone", "together")
_MODEL = "model"
_DOUBTED = "doubted_"
"""Before the names of the moments of those who are doubted more, in a file."""


def doubts(deviations: npt.ArrayLike, size: float) -> Array:
    """How little a network trusts what it sees in photographs: ``[...]``, mean logarithm of the points' deviations.

    Args:
      deviations: ``[..., Q]``, px.
      size: Of the crop, px.
    """
    return np.mean(np.log(np.asarray(deviations, np.float64) / size), axis=-1)


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Moments of a network's estimates of identity, one of each photograph, and of the true coefficients.

    Attributes:
      estimate_mean: ``[K]``, of the estimates.
      truth_mean: ``[K]``.
      truth: ``[K, K]``, covariance of the truth.
      with_truth: ``[K, K]``, covariance of an estimate (rows) with the truth (columns).
      alone: ``[K, K]``, covariance of the estimates.
      together: ``[K, K]``, covariance of the estimates from two photographs of a person.
      people: Whom they were measured on.
      doubt: Mean of their `doubts`; 0 of a network that finds no points.
      doubted: The same of people who were doubted more; None if they are not told apart.
      model: SHA-256 of the network's file; empty if nobody has said.
    """

    estimate_mean: Array
    truth_mean: Array
    truth: Array
    with_truth: Array
    alone: Array
    together: Array
    people: int
    doubt: float = 0.0
    doubted: "Reliability | None" = None
    model: str = ""

    @classmethod
    def measured(
        cls,
        truth: npt.ArrayLike,
        estimates: npt.ArrayLike,
        shrinkage: float = SHRINKAGE,
        doubts: npt.ArrayLike | None = None,
    ) -> "Reliability":
        """Measures on people whom the network was not trained on.

        Args:
          truth: ``[M, K]``, true coefficients.
          estimates: ``[M, V, K]``, of each photograph; NaN where a person has no more. Some have two.
          shrinkage: 0 keeps the covariances between different coefficients, 1 drops them: few people give noisy ones.
          doubts: ``[M, V]``, of each photograph; people are told apart by them if there are `_FEWEST` or more.

        Raises:
          ValueError: If shapes do not agree, or nobody has two photographs, in either half.
        """
        true, said = np.asarray(truth, np.float64), np.asarray(estimates, np.float64)
        if true.ndim != 2 or said.ndim != 3 or said.shape[::2] != true.shape:
            raise ValueError(
                f"estimates: expected the shape [M, V, K] beside a truth [M, K], got {list(said.shape)} beside "
                f"{list(true.shape)}"
            )
        if doubts is not None and len(true) >= _FEWEST:
            of_people = np.nanmean(np.asarray(doubts, np.float64).reshape(said.shape[:2]), axis=1)
            more = of_people > np.nanmedian(of_people)
            if more.any():  # not of a network that says the same of everybody
                low, high = (cls.measured(true[part], said[part], shrinkage) for part in (~more, more))
                above = dataclasses.replace(high, doubt=float(of_people[more].mean()))
                return dataclasses.replace(low, doubt=float(np.nanmean(of_people[~more])), doubted=above)
        there: npt.NDArray[np.bool_] = np.asarray(np.isfinite(said).all(axis=-1))
        counts = there.sum(axis=1)
        if not (counts >= 2).any():
            raise ValueError("estimates: expected people with two photographs or more, got none")
        truth_mean, estimate_mean = true[counts > 0].mean(axis=0), said[there].mean(axis=0)
        centred = np.where(there[..., None], said - estimate_mean, 0)
        person, several = np.flatnonzero(counts), np.flatnonzero(counts >= 2)
        sums = centred.sum(axis=1)
        deviation = true[person] - truth_mean
        own = np.einsum("mvk,mvl,m->kl", centred[several], centred[several], 1 / (counts * (counts - 1.0))[several])
        pairs = np.einsum("mk,ml,m->kl", sums[several], sums[several], 1 / (counts * (counts - 1.0))[several]) - own
        mask = (1 - shrinkage) * np.ones((true.shape[1],) * 2) + shrinkage * np.eye(true.shape[1])
        return cls(
            estimate_mean,
            truth_mean,
            mask * (deviation.T @ deviation) / len(person),
            mask * ((sums[person] / counts[person, None]).T @ deviation) / len(person),
            mask * np.einsum("mvk,mvl,m->kl", centred[person], centred[person], 1 / counts[person]) / len(person),
            mask * pairs / len(several),
            len(person),
        )

    @property
    def levels(self) -> tuple["Reliability", ...]:
        """By rising doubt."""
        return (self,) if self.doubted is None else (dataclasses.replace(self, doubted=None), self.doubted)

    def at(self, doubt: float) -> "Reliability":
        """The moments of people who are doubted so much: between those of both levels, beyond them the nearer one's."""
        if self.doubted is None:
            return self
        share = float(np.clip((doubt - self.doubt) / (self.doubted.doubt - self.doubt), 0, 1))
        low, high = self.levels
        mixed: dict[str, Any] = {
            name: (1 - share) * getattr(low, name) + share * getattr(high, name) for name in (*_VECTORS, *_MATRICES)
        }
        return Reliability(**mixed, people=low.people + high.people, doubt=doubt)

    def prior(self, estimates: npt.ArrayLike, doubts: npt.ArrayLike | None = None) -> IdentityPrior:
        """The person that N estimates ``[N, K]`` speak of, one of each photograph.

        Args:
          estimates: The estimates.
          doubts: ``[N]``, of the photographs; without them, people are taken to be doubted as the mean.

        Raises:
          ValueError: If there are none, or of another number of coefficients.
        """
        said = np.asarray(estimates, np.float64)
        if said.ndim != 2 or not len(said) or said.shape[1] != len(self.truth_mean):
            raise ValueError(f"estimates: expected the shape [N, {len(self.truth_mean)}], got {list(said.shape)}")
        if self.doubted is not None:
            doubt = (self.doubt + self.doubted.doubt) / 2 if doubts is None else float(np.mean(np.asarray(doubts)))
            return self.at(doubt).prior(said)
        of_mean = self.together + (self.alone - self.together) / len(said)
        gain = np.linalg.solve(of_mean, self.with_truth).T
        covariance = self.truth - gain @ self.with_truth
        # Moments of few people may deny that anything is left unknown in some direction.
        variances, directions = np.linalg.eigh((covariance + covariance.T) / 2)
        covariance = (directions * np.maximum(variances, _LEAST_VARIANCE)) @ directions.T
        mean = self.truth_mean + gain @ (said.mean(axis=0) - self.estimate_mean)
        return IdentityPrior.of_estimate(mean, covariance)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the moments in half precision, as a NumPy archive."""
        content: dict[str, Any] = {_MODEL: np.array(self.model)}
        for prefix, level in zip(("", _DOUBTED), self.levels, strict=False):
            content |= {f"{prefix}people": np.array(level.people), f"{prefix}doubt": np.array(level.doubt)}
            for name in (*_VECTORS, *_MATRICES):
                content[f"{prefix}{name}"] = np.asarray(getattr(level, name), np.float16)
        with files.written(path) as beside:
            np.savez(beside, **content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Reliability":
        """Reads a file of `save`.

        Raises:
          FileNotFoundError: If there is none.
          ValueError: naming the file, if it holds something else.
        """
        arrays = files.read_arrays(path, _MAX_BYTES)
        read = dataclasses.replace(_level(path, arrays, ""), model=str(arrays.get(_MODEL, "")))
        if not any(name.startswith(_DOUBTED) for name in arrays):
            return read
        above = _level(path, arrays, _DOUBTED)
        if len(above.truth_mean) != len(read.truth_mean) or not above.doubt > read.doubt:
            raise ValueError(f"{path}: expected moments of people who are doubted more, of as many coefficients")
        return dataclasses.replace(read, doubted=above)


def _level(path: str | os.PathLike[str], arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> Reliability:
    """The moments whose names begin with `prefix`."""
    try:
        people, doubt = int(arrays[f"{prefix}people"]), float(arrays.get(f"{prefix}doubt", 0.0))
        count = len(arrays[f"{prefix}truth_mean"])
        shapes = dict.fromkeys(_MATRICES, (count, count)) | dict.fromkeys(_VECTORS, (count,))
        read: dict[str, Any] = {name: arrays[f"{prefix}{name}"].astype(np.float64) for name in shapes}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected moments of a network's estimates: {error!r}") from error
    for name, shape in shapes.items():
        if read[name].shape != shape or not np.isfinite(read[name]).all():
            raise ValueError(
                f"{path}: {prefix}{name}: expected finite numbers of the shape {list(shape)}, got "
                f"{list(read[name].shape)}"
            )
    least = np.linalg.eigvalsh(read["alone"])[:1]
    if not (least > 0).all():
        raise ValueError(
            f"{path}: {prefix}alone: expected a covariance of positive variances, got one of {least[0]:.3g}"
        )
    return Reliability(**read, people=people, doubt=doubt)


def file_beside(model: str | os.PathLike[str]) -> str:
    """Where the moments of a model's estimates lie: ``face.keras`` has ``face.reliability.npz`` beside it."""
    return os.path.splitext(os.fspath(model))[0] + SUFFIX


def sha256_beside(model: str | os.PathLike[str]) -> str | None:
    """Of that file; None if there is none."""
    path = file_beside(model)
    return files.sha256(path) if os.path.exists(path) else None


def beside(model: str | os.PathLike[str], num_modes: int) -> Reliability | None:
    """What was measured of a model's estimates; None if nobody has.

    Args:
      model: Path of the model's file.
      num_modes: K, of its 3DMM.

    Raises:
      ValueError: naming the file beside it, if that holds something else, or is of another number of coefficients or of
        another model, as that of one that has been trained anew since.
    """
    path = file_beside(model)
    if not os.path.exists(path):
        return None
    read = Reliability.load(path)
    if len(read.truth_mean) != num_modes:
        raise ValueError(f"{path}: of {len(read.truth_mean)} coefficients, but the model has {num_modes}")
    if read.model and read.model != files.sha256(model):
        raise ValueError(
            f"{path}: expected what was measured of {os.fspath(model)}, got that of another model or of an older "
            "version; measure anew (tfface.calibrate_estimates), or remove it"
        )
    return read


def identity_prior(
    estimates: npt.ArrayLike, reliability: Reliability | None, doubts: npt.ArrayLike | None = None
) -> IdentityPrior:
    """What a network's estimates ``[N, K]``, one of each photograph of so many `doubts` ``[N]``, say of the person.

    Where nobody has measured how reliable they are, it is their mean, each coefficient with the variance
    `NETWORK_ERROR_VARIANCE`.
    """
    if reliability is not None:
        return reliability.prior(estimates, doubts)
    mean = np.mean(np.asarray(estimates, np.float64), axis=0)
    return IdentityPrior.of_estimate(mean, NETWORK_ERROR_VARIANCE * np.eye(len(mean)))
