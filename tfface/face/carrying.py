"""What a 3DMM takes over from the template of its shapes: expressions, and the head around the face."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tfface.face.expressions import Expressions
from tfface.face.head import Head
from tfface.face.morphable_model import MorphableModel
from tfface.geometry import alignment

Array = npt.NDArray[np.floating]


def model_from_template(model: MorphableModel, template: npt.ArrayLike) -> alignment.Transform:
    """The rigid transform that lays a template [P, 3], mm, on the mean of the 3DMM that was built from its shapes."""
    return alignment.rigid(np.asarray(template, np.float64), model.mean)


def with_expressions(model: MorphableModel, expressions: Expressions, template: npt.ArrayLike) -> MorphableModel:
    """The 3DMM with the expressions of its template, turned to the model frame.

    Args:
      model: built from shapes of the template's topology.
      expressions: in the frame of the template.
      template: [P, 3], mm.

    Returns:
      The model; its head, if it has one, must follow (`with_head`).
    """
    turn = model_from_template(model, template).rotation
    return dataclasses.replace(model, expressions=expressions.turned(turn), head=None)


def with_surface_of(model: MorphableModel, prior: MorphableModel) -> MorphableModel:
    """The 3DMM with expressions, regions and texture layout of the prior on which its shapes were laid.

    Shapes that lie on the prior are moved by its expressions as it is moved.
    """
    return dataclasses.replace(
        model,
        expressions=prior.expressions,
        regions={**prior.regions, **model.regions},
        uv=prior.uv,
        uv_triangles=prior.uv_triangles,
    )


def with_head(
    model: MorphableModel, people: Iterable[tuple[Array, Array]], template: Head, face: npt.ArrayLike
) -> MorphableModel:
    """The 3DMM with the head that goes with its face.

    With c_i the coefficients of a person's face and h_i the person's head, aligned with the mean by the face, the
    head's mean m and displacements b_k minimise sum_i | m + sum_k c_ik b_k - h_i |^2. Where heads depend linearly on
    as many modes as are kept, that is exact. The vertices of the face are those of the 3DMM.

    Args:
      model: K modes, with the expressions of the face if the template has any.
      people: blocks of faces [B, P, 3] and heads [B, V, 3], mm, of each person in one frame; more than K in all.
      template: the head's triangles, regions, texture layout and expressions; its modes are not looked at.
      face: [P, 3], mm, the face of the template, which tells its frame.

    Returns:
      The model with its head, and with those of the head's regions that lie within the face.

    Raises:
      ValueError: If there are too few people, or an array does not fit.
    """
    size = model.num_modes + 1
    gram, moments, count = np.zeros((size, size)), np.zeros((size, 3 * template.num_vertices)), 0
    for faces, heads in people:
        if heads.shape != (len(faces), template.num_vertices, 3):
            raise ValueError(
                f"heads: expected the shape [{len(faces)}, {template.num_vertices}, 3], got {list(heads.shape)}"
            )
        transforms = alignment.rigid(np.asarray(faces, np.float64), model.mean)
        scores = model.encode(transforms.apply(np.asarray(faces, np.float64)))
        design = np.column_stack((np.ones(len(scores)), scores))
        gram += design.T @ design
        moments += design.T @ transforms.apply(np.asarray(heads, np.float64)).reshape(len(heads), -1)
        count += len(faces)
    if count < size:
        raise ValueError(f"heads: expected those of more than {model.num_modes} people, got {count}")
    # In units of the diagonal, so that the solution does not depend on how the coefficients are scaled.
    scale = np.sqrt(np.diag(gram))
    solution = np.linalg.lstsq(gram / np.outer(scale, scale), moments / scale[:, None], rcond=None)[0] / scale[:, None]
    solution = solution.reshape(size, template.num_vertices, 3)
    mean, scaled_basis = solution[0], solution[1:]
    mean[template.face_index], scaled_basis[:, template.face_index] = model.mean, model.scaled_basis
    expressions = template.expressions
    if expressions is not None:
        expressions = expressions.turned(model_from_template(model, face).rotation)
    head = dataclasses.replace(template, mean=mean, scaled_basis=scaled_basis, expressions=expressions)
    number = np.full(template.num_vertices, -1)
    number[template.face_index] = np.arange(len(template.face_index))
    inside = {name: number[indices] for name, indices in template.regions.items() if (number[indices] >= 0).all()}
    return dataclasses.replace(model, head=head, regions={**inside, **model.regions})
