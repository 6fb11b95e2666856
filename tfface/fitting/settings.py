"""How points and prior are weighed in an adjustment."""

import dataclasses
from collections.abc import Sequence

_POSITIVE = (
    "expression_deviation",
    "independent_points",
    "identity_points",
    "freedom",
    "max_iterations",
    "tolerance",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How points and prior are weighed.

    Attributes:
      expression_deviation: Of each expression weight about 0, in units of the weight.
      independent_points: So many independent points the points of a photograph are worth at most; their errors are
        correlated. Infinity takes them as independent.
      identity_points: The same for the identity: what errs alike over the whole face looks like another person.
      common_error: Correlation of a point's errors in two photographs of a person, whose mean they do not lessen;
        `benchmarks/point_errors.py` measures it.
      freedom: Degrees of freedom of Student's t; infinity is the normal distribution.
      focal_deviation: Of the logarithm of each camera's focal length about the given one; 0 holds it.
      max_iterations: After so many accepted or refused steps the adjustment ends where it is.
      tolerance: It ends when a step lowers the cost by less than this share.

    Raises:
      ValueError: If a number that must be positive is not.
    """

    expression_deviation: float = 0.25
    independent_points: float = 60.0
    identity_points: float = 60.0
    common_error: float = 0.3
    freedom: float = 5.0
    focal_deviation: float = 0.0
    max_iterations: int = 60
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if not 0 <= self.common_error <= 1:
            raise ValueError(f"common_error: expected a share of 0 to 1, got {self.common_error}")
        if not self.focal_deviation >= 0:
            raise ValueError(f"focal_deviation: expected 0 or more, got {self.focal_deviation}")

    def share_of_each(self, count: int) -> float:
        """How much each of so many points of a photograph counts."""
        return min(1.0, self.independent_points / count)

    def overstated(self, counts: Sequence[int]) -> float:
        """D: how much more all points, so many in each photograph, seem to tell of the identity than they do.

        N photographs tell of it what N / (1 + (N - 1) r) independent ones would, with the correlation r of a point's
        errors in two of them (design effect, Kish 1965). Poses and expressions are each photograph's own.
        """
        design_effect = 1 + (len(counts) - 1) * self.common_error
        told = sum(self.share_of_each(count) for count in counts)
        return design_effect * max(1.0, told / sum(min(1.0, self.identity_points / count) for count in counts))


NETWORK_POINTS = Settings(identity_points=4.0, common_error=1.0)
"""Of the points of the very network whose estimate is the prior: they come of the same features and err with it, and
what they tell of the identity has mostly been said. Chosen among 20, 8, 4 and 3 points and common errors of 0.3, 0.6
and 1 on the validation split of rendered people."""
