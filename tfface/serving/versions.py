"""Which version directories of a base path are there, and which of them a policy wants loaded."""

import os
import re
from collections.abc import Collection

from tensorflow_serving.config import model_server_config_pb2

_NUMBER = re.compile("[0-9]{1,18}")
Fingerprint = tuple[tuple[str, int, int], ...]


def listed(base_path: str) -> dict[int, str]:
    """The version directories under a base path, by number; whatever else lies there is left alone.

    Raises:
      OSError: If the base path cannot be read.
    """
    with os.scandir(base_path) as entries:
        return {int(entry.name): entry.path for entry in entries if _NUMBER.fullmatch(entry.name) and entry.is_dir()}


def aspired(config: model_server_config_pb2.ModelConfig, numbers: Collection[int]) -> list[int]:
    """The versions that a model's policy wants of those that are there, in order; without a policy, the latest."""
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return sorted(numbers)
    if kind == "specific":
        return sorted(set(policy.specific.versions) & set(numbers))
    count = policy.latest.num_versions or 1
    return sorted(numbers)[-count:]


def fingerprint(path: str) -> Fingerprint:
    """Names, sizes and times of all files of a version: it changes while somebody copies them."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            try:
                status = os.stat(file)
            except FileNotFoundError:  # moved between the listing and now: the next look will differ
                continue
            found.append((file, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def single(name: str, base_path: str) -> model_server_config_pb2.ModelServerConfig:
    """The configuration of a server with one model, of which it serves the latest version."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform="tensorflow")
    return config
