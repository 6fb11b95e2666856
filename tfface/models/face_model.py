"""A trained or untrained model as an object: what the plain Keras model is made of, asked for by what it is."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras

from tfface import schema
from tfface.face import MorphableModel
from tfface.face.surface_points import SurfacePoints
from tfface.models import kinds, layers, merge, mlp, point_head, regressor
from tfface.models.encoders import ENCODERS, HEADS, Encoder
from tfface.models.heads import EXPRESSION, ROTATION, SHAPE, TRANSLATION, CameraStatistics, ExpressionStatistics
from tfface.models.shape_decoder import MorphableModelDecoder

PREPROCESSING = "preprocessing"


class Halves(NamedTuple):
    """A model in two; both share their layers, and thus their weights, with the whole."""

    lower: keras.Model
    """Crops ``[M, H, W, 3]`` (0..255, RGB) -> features ``[M, h, w, c]``."""
    upper: keras.Model
    """`schema.FEATURES` in place of the images, and the model's other inputs -> the model's outputs."""


class FaceModel:
    """A single view, multi view or shape only model.

    The Keras model stays what is saved, loaded by `keras.saving.load_model`, trained and exported; this says what it is
    made of, so that nobody else needs the name of a layer. Both see the same weights.

    Attributes:
      network: The Keras model: `schema.IMAGES` and, as the parts need them, `schema.INTRINSICS` and `schema.VIEW_MASK`
        -> a dict of `schema.MODEL_OUTPUTS`.
      encoder: The encoder that all views share, ``[M, H, W, 3]`` (preprocessed) -> ``[M, h, w, c]``; of a model with a
        head of points, to that and the ``[M, h', w', c']`` of an earlier block.
      regressor: What follows it.
      point_head: What finds points in the outputs of the encoder; None in a model that finds none.
      architecture: The encoder's entry in the registry.
      num_views: N.
      image_size: (height, width) of the crops, px.
    """

    def __init__(self, network: keras.Model):
        """Looks at a model.

        Raises:
          ValueError: If it is not one of tfface's.
        """
        inner = {layer.name: layer for layer in network.layers}
        missing = {regressor.NAME, PREPROCESSING} - inner.keys()
        name = next((name for name in ENCODERS if name in inner), None)
        if missing or name is None:
            raise ValueError(
                f"model {network.name}: expected a model of tfface, found no layer "
                f"{' or '.join(sorted(missing)) or ' or '.join(ENCODERS)}"
            )
        self.network = network
        self.encoder: keras.Model = inner[name]
        self.architecture: Encoder = ENCODERS[name]
        self.regressor = regressor.Regressor(inner[regressor.NAME])
        self.point_head: keras.Model | None = inner.get(point_head.NAME)
        self._preprocessing = inner[PREPROCESSING]
        _, num_views, height, width, _ = network.input[schema.IMAGES.key].shape
        self.num_views = int(num_views)
        self.image_size = int(height), int(width)

    def __call__(self, given: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """The outputs for what is given, by `schema` key; what the network does not take is left out."""
        return self.network({key: given[key] for key in self.network.input}, training=training)

    @property
    def name(self) -> str:
        """The Keras model's."""
        return self.network.name

    @property
    def kind(self) -> str:
        """One of `kinds.MODEL_KINDS`."""
        if not any(head.per_view for head in self.regressor.heads):
            return kinds.SHAPE_ONLY
        return kinds.SINGLE_VIEW if self.regressor.merge_block is None else kinds.MULTI_VIEW

    @property
    def has_poses(self) -> bool:
        """Whether it predicts poses, and thus takes `schema.INTRINSICS`."""
        return schema.INTRINSICS.key in self.network.input

    @property
    def takes_fewer(self) -> bool:
        """Whether it takes fewer than N views, through `schema.VIEW_MASK`."""
        return schema.VIEW_MASK.key in self.network.input

    @property
    def shape_decoder(self) -> MorphableModelDecoder:
        """The layer that holds the 3DMM: its digest, triangles and landmarks."""
        decoder = self.regressor.decoder(SHAPE)
        assert isinstance(decoder, MorphableModelDecoder)
        return decoder

    @property
    def morphable_model(self) -> MorphableModel:
        """A copy of the 3DMM that the model carries, with expressions, regions, texture layout and head if it has them.

        It carries them whether it predicts expressions or not.
        """
        return self.shape_decoder.to_face_model()

    @property
    def camera_statistics(self) -> CameraStatistics:
        """The standardisation of the pose heads, for a model that starts from this one.

        Raises:
          ValueError: If it predicts no poses.
        """
        if not self.has_poses:
            raise ValueError(f"model {self.name}: it predicts no poses")
        rotation: Any = self.regressor.decoder(ROTATION)
        translation: Any = self.regressor.decoder(TRANSLATION)
        return CameraStatistics(rotation.scale, translation.mean, translation.std)

    @property
    def has_expressions(self) -> bool:
        """Whether it predicts expressions: `schema.EXPRESSIONS` and `schema.POSED` of each view."""
        return EXPRESSION in self.regressor.heads

    @property
    def expression_statistics(self) -> ExpressionStatistics | None:
        """The standardisation of the head of expressions, for a model that starts from this one; None without one."""
        if not self.has_expressions:
            return None
        decoder: Any = self.regressor.decoder(EXPRESSION)
        return ExpressionStatistics(decoder.mean, decoder.std)

    @property
    def surface_points(self) -> SurfacePoints | None:
        """The points that it finds in every view (`schema.POINTS`), in their order; None if it finds none."""
        return point_head.surface_points(self.network)

    @property
    def encoder_output(self) -> str:
        """The layer of the architecture that the encoder ends with: one of `Encoder.outputs`."""
        return self.encoder.layers[-1].name

    @property
    def encoder_dtype(self) -> str:
        """In which the convolutions compute: ``float32``, ``bfloat16``, ..."""
        return self.encoder.outputs[0].dtype

    def halves(self, part: str) -> Halves:
        """The model in two, cut below a part; see `Encoder.parts`.

        A head of points sees an earlier block than the other heads, so that it goes with the part of the block that
        follows that one and with larger parts. The smallest part, ``heads``, is that of the other heads: its upper half
        finds no points.

        Args:
          part: ``heads`` (all that follows the encoder) or a block (that block and all above it).

        Raises:
          ValueError: If the encoder has no such part, or the head of points sees what lies below it.
        """
        encoder, rest, boundary = self.encoder, self.regressor.network, self._boundary(part)
        crops = keras.Input((*self.image_size, 3), name="crops")
        lower = keras.Model(crops, keras.Model(encoder.input, boundary)(self._preprocessing(crops)))
        if part == HEADS:
            return Halves(lower, rest)
        self._check_points(part)
        inputs = {key: keras.Input(tensor.shape[1:], name=key) for key, tensor in rest.input.items()}
        cached = keras.Input((self.num_views, *boundary.shape[1:]), name=schema.FEATURES.key)
        folded: Any = layers.FoldViews(name="fold_views")(cached)
        encoded = {schema.FEATURES.key: encoder.outputs[0]}
        detail_is_cached = self.architecture.below(part) == self.architecture.blocks[point_head.DETAIL_BLOCK]
        if self.point_head is not None and not detail_is_cached:
            encoded[schema.DETAIL.key] = encoder.outputs[1]
        maps = {schema.DETAIL.key: folded} | keras.Model(boundary, encoded)(folded)
        seen = {key: layers.UnfoldViews(self.num_views, name=f"encoded_{key}")(value) for key, value in maps.items()}
        outputs = rest(inputs | {schema.FEATURES.key: seen[schema.FEATURES.key]})
        if self.point_head is not None:
            outputs |= self.point_head(seen)
        return Halves(lower, keras.Model({**inputs, schema.FEATURES.key: cached}, outputs))

    def _check_points(self, part: str) -> None:
        """Refuses a part that begins above what the head of points sees."""
        expected = point_head.parts(self.architecture)
        if self.point_head is not None and part not in expected:
            raise ValueError(
                f"part: the head of points of {self.name} sees {point_head.DETAIL_BLOCK}; expected {HEADS}, which "
                f"leaves points out, or one of {', '.join(expected)}, got {part!r}"
            )

    def between(self, lower_part: str, part: str) -> keras.Model:
        """What lies between two cuts: features ``[M, h, w, c]`` below a lower part -> those below `part`.

        Raises:
          ValueError: If the encoder has no such part.
        """
        return keras.Model(self._boundary(lower_part), self._boundary(part))

    def _boundary(self, part: str) -> keras.KerasTensor:
        """What goes into a part."""
        known = self.architecture.parts[:-1]
        if part not in known:
            raise ValueError(f"part: expected one of {', '.join(known)} of {self.architecture.name}, got {part!r}")
        if part == HEADS:
            return self.encoder.outputs[0]
        below = self.architecture.below(part)
        if self.encoder_output == below or below not in {layer.name for layer in self.encoder.layers}:
            raise ValueError(f"part: the encoder of {self.name} ends with {self.encoder_output}, it has no {part}")
        return self.encoder.get_layer(below).output

    def view_network(self) -> keras.Model:
        """The part that sees one view: crops ``[M, H, W, 3]`` -> coefficients before merging ``[M, K]``."""
        crops = keras.Input((*self.image_size, 3), name="crops")
        features = keras.Model(self.encoder.input, self.encoder.outputs[0])(self._preprocessing(crops))
        return keras.Model(crops, self.regressor.shape_of_a_view(features))

    def merge_for(self, num_views: int) -> keras.Model | None:
        """The merge block for another number of views, with its weights; None if there is none that takes any number.

        Returns:
          A model from ``[B, num_views, K]`` and a mask ``[B, num_views]`` to ``[B, K]``.
        """
        block = self.regressor.merge_block
        return None if block is None else merge.widened(block, num_views)

    @property
    def merge_is_trained(self) -> bool:
        """Whether there is a merge block that has learnt to say something else than the average."""
        block = self.regressor.merge_block
        return block is not None and merge.is_trained(block)

    def initialize(self, source: "FaceModel") -> list[str]:
        """Copies into this model the weights of the encoder and of every part that `source` has in the same shape.

        Of an MLP with fewer hidden units, such as `shrinking.prune` leaves, the units that it has; of a head of points,
        what it says of the points that both look for.

        Returns:
          The names of the parts that were copied; the others keep their weights.

        Raises:
          ValueError: If the two do not share encoder or 3DMM.
        """
        taken = self._take("initialize", source, lambda _, given: given)
        mlps = {head.mlp for head in self.regressor.heads}
        own, given = self._parts(), source._parts()
        for name in (name for name in own if name in given and name not in taken):
            copy_of = mlp.take_over if name in mlps else point_head.take_over if name == point_head.NAME else None
            if copy_of is not None and copy_of(own[name], given[name]):
                taken.append(name)
        return taken

    def average(self, other: "FaceModel") -> list[str]:
        """Takes the mean of this model's weights and another's, part by part, where the shapes are the same.

        Of two that were trained on from the same weights, on different data, the mean often does well on both (Wortsman
        et al. 2022, "Robust fine-tuning of zero-shot models"). Constants that are whole numbers stay.

        Returns:
          The names of the parts that are now means; the others keep their weights.

        Raises:
          ValueError: If the two do not share encoder or 3DMM, a part that both have is of another shape, or what heads
            say is standardised otherwise.
        """
        given = other._parts()
        unlike = [
            name for name, part in self._parts().items() if name in given and _shapes(part) != _shapes(given[name])
        ]
        unlike += [name for name in ("camera_statistics", "expression_statistics") if not self._shares(name, other)]
        if unlike:
            raise ValueError(f"average: expected two models trained on from one, got others in {', '.join(unlike)}")
        return self._take("average", other, lambda own, given: (own + given) / 2 if own.dtype.kind == "f" else own)

    def _shares(self, statistics: str, other: "FaceModel") -> bool:
        """Whether heads that both have are standardised alike."""
        if statistics == "camera_statistics":
            return not (self.has_poses and other.has_poses) or self.camera_statistics == other.camera_statistics
        own, others = self.expression_statistics, other.expression_statistics
        return own is None or others is None or own == others

    def _take(self, purpose: str, source: "FaceModel", combine: Callable[[Any, Any], Any]) -> list[str]:
        """Sets the weights of the parts that `source` has in the same shape to what comes of both."""
        mine, others = self.shape_decoder.digest, source.shape_decoder.digest
        if mine != others:
            raise ValueError(
                f"{purpose}: {source.name} was trained with another 3DMM ({others[:12]}) than {self.name} "
                f"({mine[:12]}): its coefficients would mean other faces"
            )
        given = source._parts()
        taken = []
        for name, part in self._parts().items():
            if name in given and _shapes(part) == _shapes(given[name]):
                pairs = zip(part.get_weights(), given[name].get_weights(), strict=True)
                part.set_weights([combine(own, other) for own, other in pairs])
                taken.append(name)
        if self.encoder.name not in taken:
            raise ValueError(f"{purpose}: {source.name} has no encoder that fits {self.name}")
        return taken

    def rebuilt(self, edit: Callable[["Configuration"], None]) -> keras.Model:
        """A model of this one's configuration after `edit`; its weights are not yet set."""
        config = copy.deepcopy(self.network.get_config())
        inner = {layer["config"]["name"]: layer["config"] for layer in config["layers"]}
        edit(Configuration(inner[self.encoder.name], inner[regressor.NAME]))
        return self.network.__class__.from_config(config)

    def with_encoder_dtype(self, policy: str) -> keras.Model:
        """The same model with an encoder that computes in another precision; weights are shared by value.

        Args:
          policy: A Keras dtype policy, e.g. ``mixed_bfloat16``.
        """

        def edit(configuration: Configuration) -> None:
            for layer in configuration.encoder["layers"]:
                if layer["class_name"] != "InputLayer":
                    layer["config"]["dtype"] = keras.saving.serialize_keras_object(keras.DTypePolicy(policy))

        converted = self.rebuilt(edit)
        converted.set_weights(self.network.get_weights())
        return converted

    def _parts(self) -> dict[str, keras.Model]:
        points = {} if self.point_head is None else {point_head.NAME: self.point_head}
        return {self.encoder.name: self.encoder, **self.regressor.parts, **points}


class Configuration(NamedTuple):
    """The parts of a model's configuration, as Keras writes it, that a copy may have otherwise."""

    encoder: dict[str, Any]
    regressor: dict[str, Any]


def _shapes(part: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in part.weights]
