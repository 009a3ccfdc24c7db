"""Which checkpoint plans: the one that is set, the one promoted in the registry, or the one shipped."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from tomas.config import NeuralSettings, shared_file
from tomas.errors import ConfigError, ModelUnavailable, StoreError
from tomas.model.checkpoint import Checkpoint, load_checkpoint
from tomas.model.prior import Prior, load_prior
from tomas.planner.outlook import Outlook
from tomas.schema import ModelVersion
from tomas.store.artifacts import fetch_artifact

__all__ = ["KIND", "SHIPPED", "Checkpoints", "Loaded", "resolve_checkpoint"]

SHIPPED = "data/models/tiny"
KIND = "planner"
"""In the model registry."""
_ASK_AGAIN_S = 60.0
"""Weights that were missing or altered are looked at again as soon as their folder changes, and after this time."""
_Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory.

    :ivar name: version in the registry, or name of its folder.
    :ivar registered: version in the registry; None for a folder that stands outside of it.
    """

    checkpoint: Checkpoint
    prior: Prior
    name: str
    registered: str | None

    @property
    def version(self) -> str:
        """Its name and the hash of its files."""
        return f"{self.name}@{self.checkpoint.version}"


def resolve_checkpoint(settings: NeuralSettings, registered: ModelVersion | None, cache: Path) -> Path:
    """The folder to load; files of a registered version are fetched and compared with their hash.

    :param registered: the version that is to plan; None takes the folder that is set, else the one shipped.
    :param cache: folder for copies of artifacts.
    :raises ModelUnavailable: nothing is there, or it is not what was registered.
    """
    if registered is None:
        try:
            return settings.checkpoint or shared_file(SHIPPED)
        except ConfigError:
            raise ModelUnavailable(
                f"The neural planner has no weights: {SHIPPED} is not there.",
                remedy="Restore it, or name the folder of a trained checkpoint in TOMAS__NEURAL__CHECKPOINT.",
            ) from None
    if registered.artifact is None:
        raise ModelUnavailable(
            f"The planner {registered.version} has no files.",
            remedy="Promote one that was added with `tomas model add`.",
        )
    try:
        return fetch_artifact(registered.artifact, cache)
    except StoreError as error:
        raise ModelUnavailable(
            f"The planner {registered.version} cannot be used: {error.what}", remedy=error.remedy
        ) from error


class Checkpoints:
    """The checkpoint in use, kept in memory until another one is asked for."""

    def __init__(self, settings: NeuralSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._failed: tuple[str | None, _Stamp, float, ModelUnavailable] | None = None

    def get(self, outlook: Outlook | None) -> Loaded:
        """The checkpoint that plans: a replayed plan's own; else the folder that is set, the promoted version, or
        the shipped one, in this order.

        :raises ModelUnavailable: it is missing or altered; another one never plans in its place.
        """
        registered = None
        if outlook is not None and (outlook.replays or self._settings.checkpoint is None):
            registered = outlook.model(KIND)
        version = None if registered is None else registered.version
        with self._lock:
            if self._loaded is None or self._loaded.registered != version:
                cache = Path() if outlook is None else outlook.settings.model.cache
                self._loaded = self._read(registered, cache)
            return self._loaded

    def _read(self, registered: ModelVersion | None, cache: Path) -> Loaded:
        version = None if registered is None else registered.version
        # Copying and hashing large weights takes long: what was wrong with them is said again until they change.
        stamp = self._stamp(registered)
        if self._failed is not None:
            name, before, until, error = self._failed
            if (name, before) == (version, stamp) and time.monotonic() < until:
                raise ModelUnavailable(error.what, remedy=error.remedy)
        self._failed = self._loaded = None  # the memory of the old one is free before the new one is read
        torch.set_num_threads(self._settings.threads)
        try:
            folder = resolve_checkpoint(self._settings, registered, cache)
            checkpoint = load_checkpoint(folder, device=self._settings.device)
            return Loaded(checkpoint, load_prior(checkpoint.files), version or folder.name, version)
        except ModelUnavailable as error:
            self._failed = version, stamp, time.monotonic() + _ASK_AGAIN_S, error
            raise

    def _stamp(self, registered: ModelVersion | None) -> _Stamp:
        if registered is not None:
            uri = registered.artifact.uri if registered.artifact else ""
            return () if "://" in uri else _stamp(Path(uri))
        try:
            return _stamp(self._settings.checkpoint or shared_file(SHIPPED))
        except ConfigError:
            return ()


def _stamp(folder: Path) -> _Stamp:
    """What shows that files of a folder have changed: names, sizes, times."""
    try:
        stats = [(item.name, item.stat()) for item in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
