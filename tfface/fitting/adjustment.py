"""Bundle adjustment: one identity for all photographs of a person, expression and pose for each.

Minimises over identity c, expressions w_v, poses (R_v, t_v) and, if asked for, focal lengths

    sum_v s_v sum_q rho(|| P_v(x_q(c, w_v)) - p_vq ||^2 / sigma_vq^2)
        + D (c - c_0)^T Lambda (c - c_0) + sum_v || w_v / sigma_w ||^2 + sum_k (log f_k / sigma_f)^2,

the negative logarithm of the posterior. rho is that of Student's t, which a wrong point cannot move far. Points of one
photograph err together: s_v counts Q of them as fewer independent ones, and D, of the identity, as fewer still
(`Settings`). Levenberg-Marquardt with analytic derivatives; the paper's reference [21] for the problem, Triggs et al.
2000 for the method.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface.face import MorphableModel
from tfface.fitting import normal_equations, rig_prior
from tfface.fitting.initial_pose import scaled_orthographic_pose
from tfface.fitting.normal_equations import Block, Observation, ViewState
from tfface.fitting.priors import IdentityPrior
from tfface.fitting.rig import Rig
from tfface.fitting.settings import Settings
from tfface.fitting.surface_points import LinearPoints, SurfacePoints
from tfface.geometry import rotation

Array = npt.NDArray[np.floating]

_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-9, 1e9


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """Where to start, such as at a network's estimate.

    Attributes:
      identity: ``[K]``.
      expressions: ``[N, E]``.
      quaternions: ``[N, 4]``, cam_from_model.
      translations: ``[N, 3]``, mm, cam_from_model.
    """

    identity: Array
    expressions: Array
    quaternions: Array
    translations: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Adjustment:
    """The most probable person, and how sure that is.

    Attributes:
      identity: ``[K]``, standard deviations.
      expressions: ``[N, E]``; within 0..1 where the 3DMM has named blendshapes.
      quaternions: ``[N, 4]``, cam_from_model, w >= 0.
      translations: ``[N, 3]``, mm, cam_from_model.
      intrinsics: ``[N, 3, 3]``, px_from_cam, with the focal lengths that were found.
      identity_covariance: ``[K, K]``, of the identity, everything else unknown.
      view_covariances: ``[N, E + 6, E + 6]``, of expression, turn of the camera frame (radians) and translation (mm).
      residuals: ``[N, Q]``, distance of each point from the fitted one in deviations; NaN where it was not seen.
      iterations: Steps that were tried.
      converged: Whether it ended because nothing was left to gain.
    """

    identity: Array
    expressions: Array
    quaternions: Array
    translations: Array
    intrinsics: Array
    identity_covariance: Array
    view_covariances: Array
    residuals: Array
    iterations: int
    converged: bool


def adjust(
    points: npt.ArrayLike,
    deviations: npt.ArrayLike,
    cameras: npt.ArrayLike | Rig,
    face_model: MorphableModel,
    surface: SurfacePoints,
    prior: IdentityPrior | None = None,
    start: Start | None = None,
    settings: Settings | None = None,
) -> Adjustment:
    """Adjusts a person to points seen in any number of photographs.

    Args:
      points: ``[N, Q, 2]``, px, where the points are seen; NaN where one is not.
      deviations: ``[N, Q]``, px, positive, standard deviation of each coordinate; infinity where a point is not seen.
      cameras: ``[N, 3, 3]``, px_from_cam of each photograph; or a `Rig`, whose poses are held or refined by its
        deviations, wherever among its cameras the face is.
      face_model: The 3DMM.
      surface: The Q points on its surface.
      prior: Of the identity; that of the population by default.
      start: Where to start; by default the prior's mean, neutral, in poses found from the points.
      settings: How points and prior are weighed.

    Returns:
      The maximum of the posterior and its covariance; deterministic.

    Raises:
      ValueError: If shapes do not fit, a deviation is not positive, a view shows fewer than four points, or a rig's
        cameras do not tell the unit of their scene.
    """
    rig = cameras if isinstance(cameras, Rig) else None
    settings = settings or Settings()
    prior = prior or IdentityPrior.of_population(face_model.num_modes)
    intrinsics = cameras.intrinsics if isinstance(cameras, Rig) else cameras
    observations = _observations(points, deviations, intrinsics, len(surface))
    if len(prior.mean) != face_model.num_modes:
        raise ValueError(f"prior: expected {face_model.num_modes} coefficients, got {len(prior.mean)}")
    overstated = settings.overstated([int((seen.precision > 0).sum()) for seen in observations])
    prior = dataclasses.replace(prior, precision=overstated * prior.precision)
    problem = _Problem(
        LinearPoints.restrict(face_model, surface), observations, prior, settings, _bounds(face_model), rig
    )
    found = problem.result(*problem.solve(problem.start(start)))
    # The system's inverse takes the prior for so much surer, and the points for as sure as independent ones.
    return dataclasses.replace(found, identity_covariance=overstated * found.identity_covariance)


def _observations(
    points: npt.ArrayLike, deviations: npt.ArrayLike, cameras: npt.ArrayLike, count: int
) -> list[Observation]:
    px, sigma = np.array(points, np.float64), np.asarray(deviations, np.float64)
    intrinsics = np.asarray(cameras, np.float64)
    if px.ndim != 3 or px.shape[1:] != (count, 2) or not len(px):
        raise ValueError(f"points: expected the shape [N, {count}, 2] with N of 1 or more, got {list(px.shape)}")
    if sigma.shape != px.shape[:2]:
        raise ValueError(f"deviations: expected the shape {list(px.shape[:2])}, got {list(sigma.shape)}")
    if intrinsics.shape != (len(px), 3, 3) or not np.isfinite(intrinsics).all():
        raise ValueError(f"cameras: expected finite numbers of the shape {[len(px), 3, 3]}, got {intrinsics.shape}")
    if not (sigma > 0).all():
        raise ValueError("deviations: expected positive numbers")
    seen = np.isfinite(px).all(axis=-1) & np.isfinite(sigma)
    if (seen.sum(axis=1) < 4).any():
        view = int(np.argmax(seen.sum(axis=1) < 4))
        raise ValueError(f"points: expected at least 4 in each view, got {int(seen[view].sum())} in view {view}")
    px[~seen] = 0
    precision = np.where(seen, 1 / sigma**2, 0.0)
    return [Observation(*each) for each in zip(px, precision, intrinsics, strict=True)]


def _bounds(face_model: MorphableModel) -> tuple[float, float]:
    """Blendshapes go from 0 to 1; components of a PCA have no ends."""
    expressions = face_model.expressions
    bounded = expressions is not None and expressions.kind == "blendshapes"
    return (0.0, 1.0) if bounded else (-np.inf, np.inf)


@dataclasses.dataclass(frozen=True, eq=False)
class _State:
    """Identity ``[K]``, logarithm of the focal length's factor ``[C]``, the views, and the face's place in a rig."""

    identity: Array
    log_focal: Array
    views: tuple[ViewState, ...]
    placed: rig_prior.Placed | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Problem:
    """What is to be explained, and by what."""

    linear: LinearPoints
    observations: Sequence[Observation]
    prior: IdentityPrior
    settings: Settings
    bounds: tuple[float, float]
    rig: Rig | None = None

    @property
    def num_modes(self) -> int:
        return len(self.prior.mean)

    @property
    def num_weights(self) -> int:
        return len(self.linear.expression)

    def start(self, given: Start | None) -> _State:
        state = self._free_start(given)
        if self.rig is None:
            return state
        points = np.stack([self.linear.at(state.identity, view.expression) for view in state.views])
        return dataclasses.replace(state, placed=rig_prior.start(self.rig, state.views, points))

    def _free_start(self, given: Start | None) -> _State:
        log_focal = np.zeros(self._cameras.max() + 1 if self.settings.focal_deviation else 0)
        if given is not None:
            rotations = rotation.matrix_from_quaternion(np.asarray(given.quaternions, np.float64))
            expressions = np.clip(np.asarray(given.expressions, np.float64), *self.bounds)
            translations = np.asarray(given.translations, np.float64)
            views = tuple(ViewState(*each) for each in zip(expressions, rotations, translations, strict=True))
            return _State(np.asarray(given.identity, np.float64), log_focal, views)
        neutral = np.zeros(self.num_weights)
        at_rest = self.linear.at(self.prior.mean, neutral)
        views = tuple(
            ViewState(neutral, *scaled_orthographic_pose(at_rest, seen.px, seen.intrinsics, seen.precision))
            for seen in self.observations
        )
        return _State(self.prior.mean, log_focal, views)

    @property
    def _cameras(self) -> npt.NDArray[np.intp]:
        """``[N]``: views of equal K are of one camera, whose focal length they share."""
        flat = np.stack([seen.intrinsics.reshape(-1) for seen in self.observations])
        return np.unique(flat, axis=0, return_inverse=True)[1].reshape(-1)

    def solve(self, state: _State) -> tuple[_State, int, bool]:
        """Levenberg-Marquardt from a state; the state where it ended, the steps tried, and whether it converged."""
        cost, damping = self._cost(state), _FIRST_DAMPING
        blocks = self._blocks(state)
        for iteration in range(1, self.settings.max_iterations + 1):
            proposed = self._moved(state, blocks, damping)
            new_cost = self._cost(proposed)
            if new_cost < cost:
                done = cost - new_cost <= self.settings.tolerance * cost
                state, cost, damping = proposed, new_cost, max(damping / 10, _LEAST_DAMPING)
                if done:
                    return state, iteration, True
                blocks = self._blocks(state)
            else:
                damping *= 10
                if damping > _MOST_DAMPING:  # no direction goes down: this is the minimum
                    return state, iteration, True
        return state, self.settings.max_iterations, False

    def result(self, state: _State, iterations: int, converged: bool) -> Adjustment:
        covariance, own = normal_equations.covariances(self._blocks(state), self._shared_prior(state)[0])
        distances = [np.sqrt(squared) for squared in self._squared(state)]
        unseen = [seen.precision == 0 for seen in self.observations]
        intrinsics = np.stack([seen.intrinsics for seen in self.observations])
        intrinsics[:, :2, :2] *= np.array(self._focals(state))[:, None, None]
        return Adjustment(
            state.identity,
            np.stack([view.expression for view in state.views]),
            rotation.quaternion_from_matrix(np.stack([view.rotation for view in state.views])),
            np.stack([view.translation for view in state.views]),
            intrinsics,
            covariance[: self.num_modes, : self.num_modes],
            np.stack(own),
            np.where(np.stack(unseen), np.nan, np.stack(distances)),
            iterations,
            converged,
        )

    def _focals(self, state: _State) -> list[float]:
        """Factor of each view's focal length."""
        if not len(state.log_focal):
            return [1.0] * len(self.observations)
        return [float(np.exp(state.log_focal[camera])) for camera in self._cameras]

    def _shares(self) -> list[float]:
        """How much a point of each view counts: so many points are worth at most `independent_points`."""
        counts = [int((seen.precision > 0).sum()) for seen in self.observations]
        return [self.settings.share_of_each(count) for count in counts]

    def _squared(self, state: _State) -> list[Array]:
        """Squared distances ``[Q]`` in deviations, of each view."""
        squared = []
        for seen, view, focal in zip(self.observations, state.views, self._focals(state), strict=True):
            points = self.linear.at(state.identity, view.expression)
            px, _ = normal_equations.project(points, view, seen.intrinsics, focal)
            squared.append(((px - seen.px) ** 2).sum(axis=-1) * seen.precision)
        return squared

    def _robust(self, squared: Array) -> Array:
        finite = np.isfinite(self.settings.freedom)
        return normal_equations.robust_cost(squared, self.settings.freedom) if finite else squared

    def _robust_weights(self, squared: Array) -> Array:
        finite = np.isfinite(self.settings.freedom)
        return normal_equations.robust_weight(squared, self.settings.freedom) if finite else np.ones_like(squared)

    def _cost(self, state: _State) -> float:
        change = state.identity - self.prior.mean
        cost = float(change @ self.prior.precision @ change)
        for squared, view, share in zip(self._squared(state), state.views, self._shares(), strict=True):
            cost += share * float(self._robust(squared).sum())
            cost += float(np.square(view.expression / self.settings.expression_deviation).sum())
        if len(state.log_focal):
            cost += float(np.square(state.log_focal / self.settings.focal_deviation).sum())
        if self.rig is not None and state.placed is not None:
            cost += rig_prior.cost(self.rig, state.placed, state.views)
        return cost

    def _shared_prior(self, state: _State) -> tuple[Array, Array]:
        """Matrix and gradient of the priors on identity and focal lengths; a place in a rig has none."""
        focal_end = self.num_modes + len(state.log_focal)
        size = self._num_shared(state)
        matrix, gradient = np.zeros((size, size)), np.zeros(size)
        matrix[: self.num_modes, : self.num_modes] = self.prior.precision
        gradient[: self.num_modes] = self.prior.precision @ (state.identity - self.prior.mean)
        if len(state.log_focal):
            focal = np.arange(self.num_modes, focal_end)
            matrix[focal, focal] = 1 / self.settings.focal_deviation**2
            gradient[focal] = state.log_focal / self.settings.focal_deviation**2
        return matrix, gradient

    def _blocks(self, state: _State) -> list[Block]:
        """The views' parts of the system, with the prior of their expressions."""
        blocks = []
        shrink = 1 / self.settings.expression_deviation**2
        weights_of = [
            share * seen.precision * self._robust_weights(squared)
            for share, seen, squared in zip(self._shares(), self.observations, self._squared(state), strict=True)
        ]
        for number, (seen, view, focal) in enumerate(
            zip(self.observations, state.views, self._focals(state), strict=True)
        ):
            points = self.linear.at(state.identity, view.expression)
            residuals, jacobian = normal_equations.linearise(self.linear, points, view, seen, focal, weights_of[number])
            block = normal_equations.view_block(
                residuals, jacobian, self.num_modes, self._shared_columns(number, state)
            )
            own, gradient = block.own, block.own_gradient
            weights = np.arange(self.num_weights)
            own[weights, weights] += shrink
            gradient[weights] += shrink * view.expression
            if self.rig is not None and state.placed is not None:
                block = rig_prior.added(block, self.rig, state.placed, view, number)
            blocks.append(block)
        return blocks

    def _shared_columns(self, number: int, state: _State) -> Array:
        """``[S, K + 1]`` of `normal_equations.view_block`."""
        columns = np.eye(self._num_shared(state), self.num_modes + 1)
        columns[self.num_modes :] = 0
        if len(state.log_focal):
            columns[self.num_modes + self._cameras[number], -1] = 1
        return columns

    def _moved(self, state: _State, blocks: Sequence[Block], damping: float) -> _State:
        """The state after a damped step; a weight at its bound stays there if it would leave."""
        low, high = self.bounds
        held = []
        for block, view in zip(blocks, state.views, strict=True):
            gradient = block.own_gradient[: self.num_weights]
            stuck = ((view.expression <= low) & (gradient > 0)) | ((view.expression >= high) & (gradient < 0))
            held.append(np.append(stuck, np.zeros(6, bool)))
        free = [normal_equations.hold(block, stuck) for block, stuck in zip(blocks, held, strict=True)]
        step, own = normal_equations.solve(free, *self._shared_prior(state), damping)
        views = tuple(
            ViewState(
                np.clip(view.expression + each[: self.num_weights], low, high),
                rotation.matrix_from_vector(each[-6:-3]) @ view.rotation,
                view.translation + each[-3:],
            )
            for view, each in zip(state.views, own, strict=True)
        )
        focal_end = self.num_modes + len(state.log_focal)
        placed = None if state.placed is None else state.placed.moved(step[focal_end:])
        log_focal = state.log_focal + step[self.num_modes : focal_end]
        return _State(state.identity + step[: self.num_modes], log_focal, views, placed)

    def _num_shared(self, state: _State) -> int:
        """S: identity, focal lengths and the place in a rig."""
        return self.num_modes + len(state.log_focal) + (0 if self.rig is None else rig_prior.UNKNOWNS)
