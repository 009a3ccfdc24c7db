"""Folders of model files in a file system or an object store, named and checked by their content."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import fsspec
from fsspec.core import url_to_fs

from tomas.errors import StoreError
from tomas.schema import ModelArtifact, content_hash

__all__ = ["delete_artifact", "fetch_artifact", "file_sha256", "put_artifact"]

_CHUNK = 1 << 20
_REMEDY = "Check TOMAS__MODEL__ARTIFACTS, its credentials, and that the folder is there."


def put_artifact(folder: Path, base: str) -> ModelArtifact:
    """Copy the files of ``folder`` (no sub-folders) to a place under ``base`` named by their content.

    The same content is stored once. A copy that is cut off leaves nothing under that name.

    :param base: a folder, or the URL of an object store that fsspec knows (``s3://…``, with its package installed).
    :raises StoreError: the place cannot be written.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    hashes = {path.name: file_sha256(path) for path in files}
    digest = content_hash(sorted(hashes.items()))
    size = sum(path.stat().st_size for path in files)
    uri = f"{base.rstrip('/')}/{digest}"
    try:
        system, place = url_to_fs(uri)
        if not system.exists(place):
            beside = f"{place}.{os.urandom(4).hex()}.part"
            system.makedirs(beside, exist_ok=True)
            for path in files:
                system.put_file(str(path), f"{beside}/{path.name}")
            _move(system, beside, place)
    except (OSError, ImportError, ValueError) as error:
        raise StoreError(f"The artifact {uri} cannot be written: {error}.", remedy=_REMEDY) from error
    return ModelArtifact(uri=uri, sha256=digest, bytes=size)


def fetch_artifact(artifact: ModelArtifact, cache: Path) -> Path:
    """A local folder with the artifact's files, checked against its hash.

    :param cache: folder for copies; what is there already is checked and used.
    :raises StoreError: it cannot be read, or its content is not what was registered.
    """
    target = cache / artifact.sha256
    if target.is_dir() and _digest(target) == artifact.sha256:
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        copy = Path(name) / "copy"
        copy.mkdir()
        try:
            system, place = url_to_fs(artifact.uri)
            for item in system.ls(place, detail=False):
                system.get_file(item, str(copy / str(item).rsplit("/", 1)[-1]))
        except (OSError, ImportError, ValueError) as error:
            raise StoreError(f"The artifact {artifact.uri} cannot be read: {error}.", remedy=_REMEDY) from error
        if _digest(copy) != artifact.sha256:
            raise StoreError(
                f"The files at {artifact.uri} are not those that were registered: their hash differs.",
                remedy="Restore them, or roll the model back (`tomas model rollback`).",
            )
        if target.exists():
            shutil.rmtree(target)
        copy.rename(target)
    return target


def delete_artifact(artifact: ModelArtifact) -> None:
    """Delete its files; nothing happens where there are none.

    :raises StoreError: they cannot be deleted, or the place is not named by the artifact's hash.
    """
    if not artifact.uri.rstrip("/").endswith(artifact.sha256):
        raise StoreError(f"{artifact.uri} is not a place that TOMAS made.", remedy="Delete it by hand.")
    try:
        system, place = url_to_fs(artifact.uri)
        if system.exists(place):
            system.rm(place, recursive=True)
    except (OSError, ImportError, ValueError) as error:
        raise StoreError(f"The artifact {artifact.uri} cannot be deleted: {error}.", remedy=_REMEDY) from error


def _move(system: fsspec.AbstractFileSystem, source: str, target: str) -> None:
    try:
        system.mv(source, target, recursive=True)
    except OSError:
        # Another process was faster; what it wrote has the same content.
        if not system.exists(target):
            raise
        system.rm(source, recursive=True)


def _digest(folder: Path) -> str:
    return content_hash(sorted((path.name, file_sha256(path)) for path in folder.iterdir() if path.is_file()))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
