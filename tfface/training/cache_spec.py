"""What a cache of frozen features holds, and what it is computed from."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

Versions = Sequence[Mapping[str, Any]]
"""The same subjects, all of their views, as they are and, in a cache that mirrors, their mirror images."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a cache is computed from: the crops of records, or a cache at a lower cut (`FeatureCache.origin`).

    Attributes:
      network: From there to the features of the cache, a view at a time.
      key: Of what the network takes, in the batches.
      batches: (variant, (begin, end)) -> batches of the subjects of that part of the split, in order: keys of
        `schema.EXAMPLE` with `key`, [B, V, ...].
      exists: [S, V] bool, which views the subjects have.
    """

    network: keras.Model
    key: str
    batches: Callable[[int, tuple[int, int]], Iterable[Versions]]
    exists: np.ndarray


@dataclasses.dataclass(frozen=True)
class CacheSpec:
    """What a cache holds; its hash names the folder, so a cache is found again only for the same work."""

    records: str
    """Hash of the records."""
    split: str
    encoder: str
    """Hash of the frozen weights, see `digest_of`."""
    subjects: int
    views: int
    """Most photographs of a subject."""
    photographs: int
    """Of all subjects together."""
    variants: int
    mirror: bool
    augment: str
    seed: int
    expressions: int = 0
    """E; 0 for records of neutral people."""

    @property
    def copies(self) -> int:
        """Versions of each view."""
        return self.variants * (2 if self.mirror else 1)

    def copies_of(self, variant: int) -> range:
        """The copies of a variant: as it is, and its mirror image."""
        return range(variant, self.copies, self.variants)

    @property
    def name(self) -> str:
        """Folder name."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return f"{self.split}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def digest_of(network: keras.Model) -> str:
    """Hash of a network's weights, shapes and precision."""
    described = [network.input_shape, network.output_shape, network.output.dtype]
    digest = hashlib.sha256(json.dumps(described).encode())
    for weight in network.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
