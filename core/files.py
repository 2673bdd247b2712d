"""Files that are whole or absent: atomic writes, and the hashes they are known by."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20
_NAME_DIGITS = 8


def sha256_bytes(data: bytes | memoryview) -> str:
    """Give the SHA-256 of some bytes as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Give the SHA-256 of a file's content as 64 lower-case hex digits, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Give the SHA-256 of a JSON value, independent of key order and spacing."""
    return sha256_bytes(canonical_json(value).encode())


def canonical_json(value: Any) -> str:
    """Write a JSON value with sorted keys and no spaces; refuses NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` only if the block succeeds.

    The file is flushed to disk before it is renamed, and the folder after; on any failure, an interruption included,
    nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Yield an empty folder whose files move into ``output`` if the block succeeds, and vanish if it does not."""
    output.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=output, prefix=".part-"))
    try:
        yield folder
        for path in sorted(folder.iterdir()):
            path.replace(output / path.name)
        _sync_folder(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def set_aside(*paths: Path) -> list[Path]:
    """Rename files that lie where others are about to be written, after the beginning of the first one's hash.

    Args:
        paths: Files that belong together; those that are not there are left out.

    Returns:
        Their new paths: ``report.html`` is ``report-1a2b3c4d.html`` then.
    """
    there = [path for path in paths if path.is_file()]
    if not there:
        return []
    name = sha256_file(there[0])[:_NAME_DIGITS]
    return [path.replace(path.with_stem(f"{path.stem}-{name}")) for path in there]


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    """Write a JSON document a person can read (two-space indent), whole or not at all."""
    write_bytes(path, _readable(value))


def replace_json(path: Path, value: Mapping[str, Any] | list[Any]) -> list[Path]:
    """Write a JSON document as `write_json` does, and set another one aside that lies there.

    Returns:
        The other one's new path, if there was one.
    """
    content = _readable(value)
    kept = set_aside(path) if path.is_file() and path.read_bytes() != content else []
    write_bytes(path, content)
    return kept


def _readable(value: Mapping[str, Any] | list[Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    handle = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
