r"""Makes a trained model small: removes hidden units that do nothing, and stores weights in half precision.

    python -m tfface.shrink --model=runs/single_view/best.keras --out=runs/single_view/small.keras

It opens and predicts like any other. How much its predictions differ from the model's is told for random pictures. The
file of its reliability, if there is one, goes with it. Its SHA-256 stands beside it, in small.keras.sha256, as
`sha256sum --check` reads it and --model wants it of an address.
"""

import dataclasses
import os
from typing import ClassVar

from absl import app

from tfface import config, starter
from tfface.options import Options, option, required

_PICTURES = 8


@dataclasses.dataclass(frozen=True)
class ShrinkingOptions(Options):
    """Which model to shrink, and how far."""

    command: ClassVar[str] = "tfface.shrink"

    model: str = required("A trained model (.keras, or starter).")
    out: str = required("Where to write the small one (.keras).")
    prune: float = option(
        1e-5, "Share of the hidden units' effect that may be left out with units; 0 keeps all.", lower=0, upper=0.5
    )


def main(argv: list[str]) -> None:
    """Shrinks the model that the flags name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    import tfface
    from tfface import fetching, schema
    from tfface.fitting import reliability
    from tfface.models import FaceModel, shrinking
    from tfface.serving import parity

    try:
        given = config.values(ShrinkingOptions)
        model = tfface.load(given.model)
        known = reliability.beside(starter.file_of(given.model), FaceModel(model).morphable_model.num_modes)
        shrinking.save_half(shrinking.prune(model, given.prune), given.out)
        pictures = parity.examples(model, _PICTURES)
        crops, intrinsics = pictures[schema.IMAGES.key], pictures[schema.INTRINSICS.key]
        whole, small = (parity.predict(one, crops, intrinsics) for one in (model, tfface.load(given.out)))
        differences = parity.differences(small, whole)
        checksum = fetching.write_checksum(given.out)
        if known is not None:
            dataclasses.replace(known, model=checksum).save(reliability.file_beside(given.out))
    except (ValueError, OSError) as error:
        config.fail(ShrinkingOptions, error)
    for name, difference in differences.items():
        print(f"{name}: largest difference {difference:.3g}")
    before, after = (os.path.getsize(path) / 1e6 for path in (starter.file_of(given.model), given.out))
    print(f"{given.out}: {after:.1f} MB, {before:.1f} MB before, SHA-256 {checksum}")


if __name__ == "__main__":
    config.define(ShrinkingOptions)
    app.run(main)
