"""Checkpoint folders: weights, tokenizer, configuration, and a manifest that notices any change to them.

Only safetensors are read. A folder is written beside its place and moved there, so that a kill leaves the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tomas.errors import ConfigError, ModelUnavailable
from tomas.model.config import NeuralConfig, parse_config
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer

__all__ = ["MANIFEST", "Checkpoint", "load_checkpoint", "save_checkpoint", "verify_checkpoint"]

MANIFEST = "manifest.json"
FORMAT_VERSION = 2
_CONFIG, _TOKENIZER, _WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
_REMEDY = "Restore the folder, or name another one in TOMAS__NEURAL__CHECKPOINT."


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    :ivar version: the first twelve hex digits of the hash over all its files.
    :ivar files: path of every file by name; what the network does not read itself (priors, metrics) is there too.
    """

    network: PlannerNetwork
    tokenizer: TextTokenizer
    config: NeuralConfig
    version: str
    files: Mapping[str, Path]
    notes: Mapping[str, Any]


def save_checkpoint(
    folder: Path,
    network: PlannerNetwork,
    tokenizer: TextTokenizer,
    *,
    extra: Mapping[str, bytes] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> str:
    """Write a checkpoint; an older one in its place is replaced as a whole.

    Weights that come from the files of a pretrained backbone and were not trained are left out.

    :param extra: further files by name: the prior, a model card.
    :param notes: plain JSON data for the manifest: metrics, hash of the data, parent.
    :return: the version.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        place = Path(name) / "new"
        place.mkdir()
        (place / _CONFIG).write_text(network.config.model_dump_json(indent=1), encoding="utf-8")
        (place / _TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
        save_file(_kept(network), str(place / _WEIGHTS))
        # It is written for its owner alone, while the folder may be shared, or packed into a wheel.
        (place / _WEIGHTS).chmod((place / _CONFIG).stat().st_mode & 0o777)
        for file, content in (extra or {}).items():
            (place / Path(file).name).write_bytes(content)
        hashes = {path.name: _hash(path) for path in sorted(place.iterdir())}
        manifest = {"format": FORMAT_VERSION, "sha256": hashes, "notes": dict(notes or {})}
        (place / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
        _synchronise(place)
        if folder.exists():
            folder.rename(Path(name) / "old")
        place.rename(folder)
    return _version(hashes)


def verify_checkpoint(folder: Path) -> tuple[dict[str, Path], str, dict[str, Any]]:
    """Compare every file with the manifest.

    :return: the files by name, the version, and the notes.
    :raises ModelUnavailable: the folder or a file is missing, altered, or not listed.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        hashes: dict[str, str] = dict(manifest["sha256"])
        notes = dict(manifest["notes"])
        known = manifest["format"]
    except OSError as error:
        raise ModelUnavailable(f"{folder / MANIFEST} cannot be read: {error.strerror}.", remedy=_REMEDY) from None
    except (ValueError, KeyError, TypeError):
        raise ModelUnavailable(f"{folder / MANIFEST} is damaged.", remedy=_REMEDY) from None
    if known != FORMAT_VERSION:
        raise ModelUnavailable(
            f"{folder} has the format {known}; this version reads {FORMAT_VERSION}.",
            remedy="Install the TOMAS version that wrote it, or train anew.",
        )
    files: dict[str, Path] = {}
    for name, wanted in hashes.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ModelUnavailable(f"{path} is missing.", remedy=_REMEDY)
        if _hash(path) != wanted:
            raise ModelUnavailable(f"{path} was altered: its SHA-256 is not the manifest's.", remedy=_REMEDY)
        files[name] = path
    for name in (_CONFIG, _TOKENIZER, _WEIGHTS):
        if name not in files:
            raise ModelUnavailable(f"{folder / MANIFEST} does not list {name}.", remedy=_REMEDY)
    return files, _version(hashes), notes


def load_checkpoint(folder: Path, *, device: torch.device | str = "cpu") -> Checkpoint:
    """Load a checkpoint whose files are all as its manifest says, in evaluation mode.

    :raises ModelUnavailable: something is missing, altered, or does not fit its configuration; or the files of its
        pretrained backbone are not there.
    """
    files, version, notes = verify_checkpoint(folder)
    try:
        config = parse_config(json.loads(files[_CONFIG].read_text(encoding="utf-8")), str(files[_CONFIG]))
        text = files[_TOKENIZER].read_text(encoding="utf-8")
        tokenizer = TextTokenizer.from_json(text, fold=config.model.backbone.from_scratch)
        weights = load_file(str(files[_WEIGHTS]))
    except (ConfigError, ValueError, SafetensorError) as error:
        raise ModelUnavailable(f"{folder} cannot be loaded: {error}.", remedy=_REMEDY) from None
    network = PlannerNetwork(config)
    _fill(network, weights, folder)
    network.eval()
    return Checkpoint(network.to(device), tokenizer, config, version, files, notes)


def _kept(network: PlannerNetwork) -> dict[str, Tensor]:
    """Tensors to store: all, or without those that the backbone's own files hold."""
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    own = network.config.model.backbone.from_scratch
    kept: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in network.state_dict().items():
        if name.startswith("backbone.") and not own and name not in trained:
            continue
        # Tied weights are stored once.
        if value.data_ptr() in seen and value.numel():
            continue
        seen.add(value.data_ptr())
        kept[name] = value.detach().cpu().contiguous().clone()
    return kept


def _fill(network: PlannerNetwork, weights: Mapping[str, Tensor], folder: Path) -> None:
    wanted = network.state_dict()
    for name in _kept(network):
        if name not in weights:
            raise ModelUnavailable(f"{folder / _WEIGHTS} lacks {name}.", remedy=_REMEDY)
    for name, value in weights.items():
        if name not in wanted or wanted[name].shape != value.shape:
            there = tuple(wanted[name].shape) if name in wanted else "nowhere"
            raise ModelUnavailable(
                f"{folder / _WEIGHTS}: {name} has the shape {tuple(value.shape)}, the configuration's is {there}.",
                remedy=_REMEDY,
            )
    network.load_state_dict(dict(weights), strict=False)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(hashes), sort_keys=True).encode()).hexdigest()[:12]


def _synchronise(folder: Path) -> None:
    """Files reach the disk before the folder takes its name."""
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
