"""Finding the vendor's manifest of a target: named behind it as ``TARGET@FILE.toml``, or lying beside its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..core.manifest import Manifest, manifest_path, read_manifest
from ..engines.catalog import is_url, split_target

_MARK = "@"
_FILE = ".toml"


class WithManifest(NamedTuple):
    """A target without its manifest's name, and the manifest, None where there is none."""

    target: str
    manifest: Manifest | None


def with_manifest(target: str) -> WithManifest:
    """Read the manifest of a target.

    Args:
        target: ``model.tflite`` (then ``model.tflite.target.toml`` is read where it lies beside the file) or
            ``model.tflite@vendor.toml``; servers likewise.

    Raises:
        InputError: If the manifest is named but missing, or is none.
    """
    front, mark, name = target.rpartition(_MARK)
    if mark and front and name.endswith(_FILE):
        return WithManifest(front, _read(Path(name)))
    path = split_target(target).path
    beside = None if is_url(path) else manifest_path(Path(path))
    return WithManifest(target, _read(beside) if beside is not None and beside.is_file() else None)


def _read(path: Path) -> Manifest:
    """Read a manifest; a preset that is a file is looked for beside it."""
    manifest = read_manifest(path)
    preset = manifest.preset
    if preset is None or not preset.endswith(_FILE):
        return manifest
    return replace(manifest, preset=str(path.parent / preset))
