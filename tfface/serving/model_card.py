"""The card of an exported model: what it is, what it was trained on, what it means and what it cannot do."""

import datetime
import hashlib
import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfface import schema
from tfface.face import arkit
from tfface.models import FaceModel
from tfface.serving import images, signatures
from tfface.version import __version__

FOLDER = "assets.extra"
_TRAINING_FLAGS = (
    "model_kind", "num_views", "merge", "hidden_units", "encoder", "encoder_weights", "encoder_output", "encoder_dtype",
    "stages", "batch_size", "learning_rate", "schedule", "augment", "mirror", "seed",
)  # fmt: skip
_LIMITS = (
    "The absolute size of a head cannot be seen in one picture of unknown distance.",
    "Photographs are crops that the face fills; finding faces is the client's part.",
    f"Without intrinsics a camera is assumed, {signatures.ASSUMED_DISTANCE:.0f} mm from a face of mean apparent size.",
    f"Photographs of more than {images.MAX_PIXELS} pixels are refused.",
)


def describe(model: keras.Model, source: str, precision: str, differences: Mapping[str, float]) -> dict[str, Any]:
    """The card as data, of JSON types."""
    face_model = FaceModel(model)
    decoder = face_model.shape_decoder
    names, _ = signatures.landmarks(model)
    expressions = _expressions(face_model)
    return {
        "name": model.name,
        "source": {"file": os.path.basename(source), "sha256": _sha256(source)},
        "exported": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "views": face_model.num_views,
        "crop_size": list(face_model.image_size),
        "precision": precision,
        "parameters": int(sum(np.prod(weight.shape) for weight in model.trainable_weights)),
        "face_model": {
            "digest": decoder.digest,
            "vertices": decoder.num_vertices,
            "modes": decoder.num_modes,
            "landmarks": len(names),
        },
        "conventions": decoder.conventions_version,
        "versions": {
            "tfface": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "training": _training(source),
        "largest_difference_from_keras": {key: float(value) for key, value in differences.items()},
        "outputs": [field.key for field in schema.MODEL_OUTPUTS if field.key in model.output],
        "expressions": expressions,
        "limits": [_limit_of_expressions(expressions), *_LIMITS],
    }


def _expressions(face_model: FaceModel) -> list[dict[str, str | None]]:
    """Names of the weights of `schema.EXPRESSIONS` in their order, each with ARKit's; empty without such a head."""
    moving = face_model.morphable_model.expressions
    if schema.EXPRESSIONS.key not in face_model.network.output or moving is None:
        return []
    targets = arkit.recipes(moving.names)
    of_part = {part: target for target in arkit.ARKIT for part in targets.get(target, {})}
    return [{"name": name, "arkit": of_part.get(name)} for name in moving.names]


def _limit_of_expressions(expressions: Sequence[Mapping[str, str | None]]) -> str:
    if not expressions:
        return "Faces are neutral: the model predicts no expression."
    told = {expression["arkit"] for expression in expressions}
    missing = [target for target in arkit.ARKIT if target not in told]
    if len(missing) == len(arkit.ARKIT):
        return "Expressions are those of the 3DMM, none of them ARKit's."
    return f"Of ARKit's expressions {', '.join(missing) or 'none'} cannot be told."


def _training(source: str) -> dict[str, Any] | None:
    """What the run's record beside the model says, without paths."""
    path = pathlib.Path(source).parent / "run.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    flags = {name: record["flags"][name] for name in _TRAINING_FLAGS if name in record["flags"]}
    return {"flags": flags, "records": record.get("records"), "started": record.get("started")}


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    face, training = card["face_model"], card["training"]
    lines = [
        f"# {card['name']}",
        "",
        f"3D face shape and camera pose from {card['views']} photograph(s), by tfface {card['versions']['tfface']}.",
        "",
        "| | |",
        "| --- | --- |",
        f"| crops | {card['views']} of {card['crop_size'][0]} x {card['crop_size'][1]} px (height x width) |",
        f"| trained parameters | {card['parameters']} |",
        f"| encoder computes in | {card['precision']} |",
        f"| 3DMM | {face['vertices']} vertices, {face['modes']} modes, {face['landmarks']} landmarks |",
        f"| 3DMM's hash | {face['digest'][:16]} |",
        f"| made from | {card['source']['file']}, SHA-256 {card['source']['sha256'][:16]} |",
        f"| exported | {card['exported']} |",
        "",
        "## What it was trained on",
        "",
    ]
    if training is None:
        lines.append("The model file had no record of its training beside it (run.json).")
    else:
        lines += [f"Records {training['records']}; started {training['started']}. Flags:", ""]
        lines += [f"- `--{name}={_flag(value)}`" for name, value in training["flags"].items()]
    lines += [
        "",
        "## What its tensors mean",
        "",
        "| output | shape | unit | frame | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for field in schema.MODEL_OUTPUTS:
        if field.key in card["outputs"]:
            lines.append(f"| `{field.key}` | {list(field.shape)} | {field.unit} | {field.frame} | {field.doc} |")
    lines.append(
        f"| `{signatures.LANDMARKS_PX}` | ['B', 'N', {face['landmarks']}, 2] | px | pixel of the photograph sent "
        "| Landmarks of the predicted face in the predicted pose; names in assets/topology.json. |"
    )
    if card["expressions"]:
        lines += ["", "## Expressions", "", f"The weights of `{schema.EXPRESSIONS.key}`, in this order:", ""]
        lines += ["| weight | ARKit |", "| --- | --- |"]
        lines += [f"| {one['name']} | {one['arkit'] or '-'} |" for one in card["expressions"]]
    lines += ["", *schema.__doc__.strip().splitlines()[2:], "", "## Limits", ""]
    lines += [f"- {limit}" for limit in card["limits"]]
    lines += ["", "## Largest difference from the Keras model, in each output's unit", ""]
    lines += [f"- `{key}`: {value:.3g}" for key, value in card["largest_difference_from_keras"].items()]
    lines += ["", "Versions: " + ", ".join(f"{name} {value}" for name, value in card["versions"].items()) + "."]
    return "\n".join(lines) + "\n"


def _flag(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def write(folder: str, model: keras.Model, source: str, precision: str, differences: Mapping[str, float]) -> None:
    """Writes the card of a version, Markdown and JSON."""
    card = describe(model, source, precision, differences)
    extra = pathlib.Path(folder) / FOLDER
    extra.mkdir(exist_ok=True)
    (extra / "model_card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (extra / "model_card.md").write_text(markdown(card), encoding="utf-8")
