"""From the faces of a person to one reconstruction: which photographs a model sees, in which order, and the poses.

A multi view model takes its views in the order of their yaw. Its pose heads see one view each, so that the yaw of any
photograph is known before it is known in which place, and with which others, the photograph is to be shown.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfface import fitting
from tfface.data import selection
from tfface.evaluation import view_selection
from tfface.photographs.landmark_sources import SeenPoints
from tfface.reconstruction.cropping import CroppedFace, PersonCrops
from tfface.reconstruction.predictor import Crop, Prediction, Predictor, by_view
from tfface.reconstruction.reconstructed_face import Reconstruction, View


@dataclasses.dataclass(frozen=True, eq=False)
class Models:
    """The models that predict.

    Attributes:
      main: Single view or multi view.
      single_view: Estimates yaws for a multi view model, and stands in where a person has one photograph or too few for
        it; may be missing.
      reliability: Of the estimates of whichever of them is asked for photographs one by one; None if nobody has
        measured it.

    Raises:
      ValueError: If the second is not of a single view, or they do not share 3DMM or size of crops.
    """

    main: Predictor
    single_view: Predictor | None = None
    reliability: fitting.Reliability | None = None

    def __post_init__(self) -> None:
        other = self.single_view
        if other is None:
            return
        if other.num_views != 1:
            raise ValueError(f"single_view_model: takes {other.num_views} views, expected one")
        if other.face_model.digest() != self.main.face_model.digest():
            raise ValueError("single_view_model: its 3DMM is another one than that of the model")
        if other.size != self.main.size:
            raise ValueError(f"single_view_model: takes crops of {other.size} px, the model {self.main.size} px")


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """What a model says of one photograph: the pose in its crop's camera; weights [E] and points, if it has any."""

    quaternion: npt.NDArray[np.float32]
    translation: npt.NDArray[np.float32]
    expression: npt.NDArray[np.float32] | None
    points: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None


@dataclasses.dataclass(frozen=True, eq=False)
class _Estimate:
    """Coefficients [K], how sure they are, vertices [P, 3], and what is seen by the number of a photograph."""

    coefficients: npt.NDArray[np.float32]
    vertices: npt.NDArray[np.float32]
    views: dict[int, _Seen]
    prior: fitting.IdentityPrior | None = None


def assemble(people: Sequence[PersonCrops], models: Models, average: int) -> list[Reconstruction | ValueError]:
    """Reconstructs people, all of them together, so that models work on whole batches.

    A model of N views sees the N photographs in the order of their yaw, or, of more than N, those whose yaws come
    closest to the targets of `selection`. With `average` above 1, as many different choices of N are predicted, the
    closest first, and their coefficients averaged (section 4.3). A single view model predicts each photograph alone,
    and their coefficients are joined by how reliable they are, or averaged where nobody has measured that.

    Args:
      people: What their files show, at least one face each.
      models: The models.
      average: How many choices of photographs, where there are so many.

    Returns:
      For each person a reconstruction, whose views are the photographs that were chosen, by ascending yaw; or what is
      wrong with the person's photographs.

    Raises:
      ValueError: If `average` is not positive, or a model's prediction is not finite.
      OSError: If a server does not answer, or refuses.
    """
    if average < 1:
        raise ValueError(f"average: expected at least 1, got {average}")
    main = models.main
    results: list[Reconstruction | ValueError] = [ValueError()] * len(people)
    by_main: list[int] = []
    by_single: list[int] = []
    for index, person in enumerate(people):
        alone = len(person.found) == 1 and models.single_view is not None
        if not alone and (len(person.found) >= main.num_views or main.takes_fewer):
            (by_single if main.num_views == 1 else by_main).append(index)
        elif models.single_view is not None:
            by_single.append(index)
        else:
            results[index] = ValueError(
                f"{person.name}: {len(person.found)} photographs show a face, the model takes {main.num_views}; add "
                "some, or name a single view model"
            )
    single = main if main.num_views == 1 else models.single_view
    estimates: dict[int, _Estimate] = {}
    if by_main:
        found = _by_multi_view([people[index] for index in by_main], models, average)
        estimates.update(zip(by_main, found, strict=True))
    if by_single and single is not None:
        found = _by_single_view([people[index] for index in by_single], single, models.reliability)
        estimates.update(zip(by_single, found, strict=True))
    for index, estimate in estimates.items():
        results[index] = _reconstruction(people[index], estimate, main)
    return results


def _by_multi_view(people: Sequence[PersonCrops], models: Models, average: int) -> list[_Estimate]:
    main = models.main
    crops = [person.crops for person in people]
    yaws, first = _yaws(crops, models)
    sets: list[tuple[int, tuple[int, ...]]] = []
    known: dict[tuple[int, tuple[int, ...]], Prediction] = {}
    for index, of_person in enumerate(yaws):
        ranked = view_selection.ranked_views(of_person[None], np.ones((1, len(of_person))), main.num_views, average)
        for chosen in ranked[0]:
            views = tuple(int(view) for view in chosen if view >= 0)
            if views:
                sets.append((index, views))
        given = tuple(range(len(of_person)))
        if (index, given) in sets and first is not None:
            known[index, given] = first[index]
    missing = [key for key in sets if key not in known]
    predicted = main.predict([[crops[index][view] for view in views] for index, views in missing])
    known.update(zip(missing, predicted, strict=True))
    estimates = []
    for index in range(len(people)):
        own = [(views, known[of, views]) for of, views in sets if of == index]
        estimates.append(_mean(own))
    return estimates


def _yaws(
    crops: Sequence[Sequence[Crop]], models: Models
) -> tuple[list[npt.NDArray[np.float64]], dict[int, Prediction] | None]:
    """Estimated yaws of every person's crops, degrees; and each one's first prediction, of crops as they come."""
    seen = by_view(models.single_view or models.main, crops)
    quaternions = [np.array([one.quaternions[place] for one, place in of_person]) for of_person in seen]
    yaws = [np.asarray(selection.yaws(of_person), np.float64) for of_person in quaternions]
    if models.single_view is not None:
        return yaws, None
    return yaws, {index: of_person[0][0] for index, of_person in enumerate(seen)}


def _by_single_view(
    people: Sequence[PersonCrops], model: Predictor, reliability: fitting.Reliability | None
) -> list[_Estimate]:
    """What a single view model's predictions for the photographs say together."""
    crops = [person.crops for person in people]
    predicted = iter(model.predict([[crop] for of_person in crops for crop in of_person]))
    estimates = []
    for of_person in crops:
        alone = [next(predicted) for _ in of_person]
        estimate = _mean([((view,), one) for view, one in enumerate(alone)])
        if reliability is not None:
            prior = reliability.prior(np.stack([one.coefficients for one in alone]), _doubts(alone, model.size))
            coefficients = prior.mean.astype(np.float32)
            vertices = model.face_model.decode(coefficients)
            estimate = dataclasses.replace(estimate, coefficients=coefficients, vertices=vertices, prior=prior)
        estimates.append(estimate)
    return estimates


def _doubts(predictions: Sequence[Prediction], size: int) -> np.ndarray | None:
    """How little the model trusts each of them; None if it finds no points."""
    said = [one.deviations for one in predictions if one.deviations is not None]
    return fitting.reliability.doubts(np.concatenate(said), size) if len(said) == len(predictions) else None


def _mean(predictions: Sequence[tuple[tuple[int, ...], Prediction]]) -> _Estimate:
    """The mean of predictions from different views of a person; of a view it is the first's word that counts."""
    seen: dict[int, _Seen] = {}
    for views, one in predictions:
        for place, view in enumerate(views):
            expression = None if one.expressions is None else one.expressions[place]
            points = None
            if one.points is not None and one.deviations is not None:
                points = one.points[place], one.deviations[place]
            seen.setdefault(view, _Seen(one.quaternions[place], one.translations[place], expression, points))
    # The 3DMM is linear: the mean of the vertices belongs to the mean of the coefficients.
    coefficients = np.mean([one.coefficients for _, one in predictions], axis=0)
    return _Estimate(coefficients, np.mean([one.vertices for _, one in predictions], axis=0), seen)


def _reconstruction(person: PersonCrops, estimate: _Estimate, main: Predictor) -> Reconstruction:
    views = [(_view(person.found[index], seen, main.size), seen.expression) for index, seen in estimate.views.items()]
    views.sort(key=lambda pair: float(selection.yaws(pair[0].quaternion)))
    weights = [weights for _, weights in views if weights is not None]
    return Reconstruction(
        person.name,
        estimate.coefficients,
        estimate.vertices,
        main.face_model,
        tuple(view for view, _ in views),
        np.stack(weights) if weights else None,
        surface=main.surface,
        prior=estimate.prior,
    )


def _view(cropped: CroppedFace, seen: _Seen, size: int) -> View:
    view = view_of(cropped, *cropped.camera.pose_in_photograph(seen.quaternion, seen.translation))
    if seen.points is None:
        return view
    px_from_crop = cropped.camera.px_from_crop(cropped.intrinsics, size)
    return dataclasses.replace(view, points=SeenPoints.of_crop(*seen.points, px_from_crop))


def view_of(cropped: CroppedFace, quaternion: npt.NDArray[np.floating], translation: npt.NDArray[np.floating]) -> View:
    """A photograph with a pose in its camera, of `schema.QUATERNIONS` ``[4]`` and `schema.TRANSLATIONS` ``[3]``."""
    return View(
        name=cropped.photograph.name,
        pixels=cropped.photograph.pixels,
        intrinsics=cropped.intrinsics,
        quaternion=quaternion,
        translation=translation,
        box=cropped.face.box,
        confidence=cropped.face.confidence,
        camera=cropped.given,
        orientation=cropped.photograph.orientation,
    )
