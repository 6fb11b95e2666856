"""Keeps the wanted versions of every model loaded: a new one is loaded before an old one is let go.

A version directory that is not whole yet, or that does not load, is passed over and looked at again when its files have
changed; what was served before it goes on being served.
"""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator

import grpc
from absl import logging
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from tfface.serving import versions
from tfface.serving.batching import Batcher
from tfface.serving.errors import ServingError, failed_precondition, invalid_argument, not_found
from tfface.serving.servable import Servable, check_complete

State = get_model_status_pb2.ModelVersionStatus.State
_REMEMBERED = 16  # versions of a model that have ended and are still reported
_FIRST_RETRY, _LONGEST_RETRY = 30.0, 3600.0
"""Seconds after which a version that failed is tried again although its files are the same: what was missing may have
been memory, or a disk. Each time it fails again, the wait is doubled."""


@dataclasses.dataclass
class Version:
    """One version of a model and what has become of it."""

    number: int
    path: str
    state: int
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
    servable: Servable | None = None
    batcher: Batcher | None = None
    leases: int = 0


@dataclasses.dataclass
class _Failure:
    fingerprint: versions.Fingerprint
    at: float
    wait: float


@dataclasses.dataclass
class _Model:
    config: model_server_config_pb2.ModelConfig
    versions: dict[int, Version] = dataclasses.field(default_factory=dict)
    failures: dict[int, _Failure] = dataclasses.field(default_factory=dict)
    labels: dict[str, int] = dataclasses.field(default_factory=dict)

    def available(self) -> list[int]:
        return sorted(number for number, version in self.versions.items() if version.state == State.AVAILABLE)


class ModelManager:
    """The models of a server.

    Args:
      load: Makes a warm `Servable` of a model's name, a version's number and its path.
      batcher: Makes the batcher of a servable.
    """

    def __init__(self, load: Callable[[str, int, str], Servable], batcher: Callable[[Servable], Batcher]):
        self._load_servable, self._make_batcher = load, batcher
        self._models: dict[str, _Model] = {}
        self._changed = threading.Condition()
        self._polling = threading.Lock()

    def names(self) -> list[str]:
        """The models that are configured."""
        with self._changed:
            return sorted(self._models)

    def is_ready(self) -> bool:
        """Whether every model has a version that can be asked."""
        with self._changed:
            return bool(self._models) and all(model.available() for model in self._models.values())

    # What is loaded.

    def configure(self, config: model_server_config_pb2.ModelServerConfig, may_wait: bool = False) -> None:
        """Takes a new list of models: loads what is new, moves labels, lets go of what is not in it any more.

        Args:
          config: The list.
          may_wait: Whether models, and versions with labels, may still be missing.

        Raises:
          ServingError: If the list is not one, a model has no version that loads, or a label names a version that is
            not loaded; the former configuration then stays.
        """
        wanted = _checked(config)
        with self._polling:
            before = {name: (model.config, model.labels) for name, model in self._models.items()}
            with self._changed:
                for name, entry in wanted.items():
                    model = self._models.get(name)
                    if model is None or model.config.base_path != entry.base_path:
                        continue
                    model.config = entry
            fresh = {
                name: _Model(entry)
                for name, entry in wanted.items()
                if name not in before or before[name][0].base_path != entry.base_path
            }
            try:
                for name, model in fresh.items():
                    self._refresh(name, model)
                for name, model in {**self._models, **fresh}.items():
                    if name in wanted and name not in fresh:
                        self._refresh(name, model)
                    if name in wanted and not may_wait:
                        _check_usable(name, model, wanted[name])
            except ServingError:
                for name, (old, labels) in before.items():
                    self._models[name].config, self._models[name].labels = old, labels
                    self._refresh(name, self._models[name])
                for model in fresh.values():
                    self._unload(model, model.available())
                raise
            with self._changed:
                replaced = [model for name, model in self._models.items() if name not in wanted or name in fresh]
                self._models = {name: fresh.get(name) or self._models[name] for name in wanted}
                for name, entry in wanted.items():
                    self._models[name].labels = dict(entry.version_labels)
            for model in replaced:
                self._unload(model, model.available())

    def poll(self) -> None:
        """Looks at every base path once: loads what is new, then lets go of what is not wanted any more."""
        with self._polling:
            for name, model in list(self._models.items()):
                self._refresh(name, model)

    def close(self) -> None:
        """Unloads everything."""
        with self._polling:
            for model in self._models.values():
                self._unload(model, model.available())

    def _refresh(self, name: str, model: _Model) -> None:
        try:
            found = versions.listed(model.config.base_path)
        except OSError as error:
            logging.warning("%s: base path %s: %s", name, model.config.base_path, error.strerror)
            return
        model.failures = {number: failure for number, failure in model.failures.items() if number in found}
        candidates = {number for number in found if not self._is_passed_over(model, number, found[number])}
        while True:
            wanted = versions.aspired(model.config, candidates)
            loaded = model.available()
            missing = [number for number in wanted if number not in loaded]
            failed = {number for number in missing if not self._load(name, model, number, found[number])}
            if not failed:
                break
            candidates -= failed
        if set(wanted) & set(model.available()) or not found:
            self._unload(model, [number for number in model.available() if number not in wanted])

    def _is_passed_over(self, model: _Model, number: int, path: str) -> bool:
        if number in model.versions and model.versions[number].state == State.AVAILABLE:
            return False
        failure = model.failures.get(number)
        return (
            failure is not None
            and time.monotonic() - failure.at < failure.wait
            and versions.fingerprint(path) == failure.fingerprint
        )

    def _load(self, name: str, model: _Model, number: int, path: str) -> bool:
        seen = versions.fingerprint(path)
        try:
            check_complete(path)
        except (ValueError, OSError) as error:
            self._fail(model, number, seen, logging.INFO, f"{name}: version {number} is not whole yet: {error}")
            return False
        self._set(model, Version(number, path, State.LOADING))
        logging.info("%s: loading version %d from %s", name, number, path)
        begun = time.monotonic()
        try:
            servable = self._load_servable(name, number, path)
        except (ServingError, ValueError, OSError) as error:
            code = error.code if isinstance(error, ServingError) else grpc.StatusCode.UNKNOWN
            self._set(model, Version(number, path, State.END, code, str(error)[:500]))
            self._fail(model, number, seen, logging.ERROR, f"{name}: version {number} does not load: {error}")
            return False
        model.failures.pop(number, None)
        batcher = self._make_batcher(servable)
        self._set(model, Version(number, path, State.AVAILABLE, servable=servable, batcher=batcher))
        logging.info("%s: version %d is available after %.1f s", name, number, time.monotonic() - begun)
        return True

    @staticmethod
    def _fail(model: _Model, number: int, seen: versions.Fingerprint, level: int, message: str) -> None:
        """Says in one line that a version failed, and that once for the same files; the next look is further away."""
        before = model.failures.get(number)
        again = before is not None and before.fingerprint == seen
        wait = min(2 * before.wait, _LONGEST_RETRY) if before is not None and again else _FIRST_RETRY
        model.failures[number] = _Failure(seen, time.monotonic(), wait)
        logging.log(logging.DEBUG if again else level, "%s", " ".join(message.split()))

    def _set(self, model: _Model, version: Version) -> None:
        with self._changed:
            model.versions[version.number] = version
            ended = sorted(number for number, known in model.versions.items() if known.state == State.END)
            for number in ended[:-_REMEMBERED]:
                del model.versions[number]
            self._changed.notify_all()

    def _unload(self, model: _Model, numbers: list[int]) -> None:
        for number in numbers:
            version = model.versions[number]
            with self._changed:
                version.state = State.UNLOADING
                while version.leases:
                    self._changed.wait()
                servable, batcher = version.servable, version.batcher
                version.servable = version.batcher = None
            if batcher is not None and servable is not None:
                batcher.close()
                servable.close()
            with self._changed:
                version.state = State.END
            logging.info("%s: version %d is unloaded", model.config.name, number)

    # What is asked.

    @contextlib.contextmanager
    def lease(self, spec: model_pb2.ModelSpec) -> Iterator[tuple[Servable, Batcher]]:
        """The version that a request names, which stays loaded inside the context.

        Raises:
          ServingError: INVALID_ARGUMENT or NOT_FOUND, as TensorFlow Serving says it.
        """
        version = self._acquire(spec)
        try:
            if version.servable is None or version.batcher is None:
                raise RuntimeError(f"version {version.number} is available and not loaded")
            yield version.servable, version.batcher
        finally:
            with self._changed:
                version.leases -= 1
                self._changed.notify_all()

    def _acquire(self, spec: model_pb2.ModelSpec) -> Version:
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        with self._changed:
            model = self._models.get(spec.name)
            numbers = model.available() if model is not None else []
            number = self._number(spec)
            if model is None or (number is None and not numbers):
                asked = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
                raise not_found(f"Servable not found for request: {asked}")
            if number is not None and number not in numbers:
                raise not_found(f"Servable not found for request: Specific({spec.name}, {number})")
            version = model.versions[numbers[-1] if number is None else number]
            version.leases += 1
            return version

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return int(spec.version.value)
        if choice == "version_label":
            model = self._models.get(spec.name)
            if model is None or spec.version_label not in model.labels:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
            return model.labels[spec.version_label]
        return None

    def states(self, spec: model_pb2.ModelSpec) -> list[tuple[int, int, grpc.StatusCode, str]]:
        """Number, state, and error of the versions that a request names, the newest first.

        Raises:
          ServingError: NOT_FOUND or INVALID_ARGUMENT, as TensorFlow Serving says it.
        """
        with self._changed:
            model = self._models.get(spec.name)
            known = model.versions if model is not None else {}
            number = self._number(spec)
            if number is not None and number not in known:
                raise not_found(f"Could not find version {number} of model {spec.name}")
            if not known:
                raise not_found(f"Could not find any versions of model {spec.name}")
            chosen = sorted(known, reverse=True) if number is None else [number]
            return [(key, known[key].state, known[key].code, known[key].message) for key in chosen]


def _checked(config: model_server_config_pb2.ModelServerConfig) -> dict[str, model_server_config_pb2.ModelConfig]:
    if config.WhichOneof("config") != "model_config_list":
        raise invalid_argument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        )
    wanted: dict[str, model_server_config_pb2.ModelConfig] = {}
    for entry in config.model_config_list.config:
        if not entry.name or not entry.base_path:
            raise invalid_argument("Every model needs a name and a base_path.")
        if entry.name in wanted:
            raise invalid_argument(f"Duplicate model name: {entry.name}")
        if entry.model_platform not in ("", "tensorflow"):
            raise invalid_argument(f"Model {entry.name}: platform {entry.model_platform} is not tensorflow")
        wanted[entry.name] = entry
    return wanted


def _check_usable(name: str, model: _Model, entry: model_server_config_pb2.ModelConfig) -> None:
    numbers = model.available()
    if not numbers:
        raise failed_precondition(f"1 servable(s) did not become available: {{{name}}}")
    for number in entry.version_labels.values():
        if number not in numbers:
            raise failed_precondition(
                f"Request to assign label to version {number} of model {name}, which is not currently available for "
                "inference"
            )
