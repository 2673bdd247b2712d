"""Images at model size kept in a folder for later runs, each set under the hash of all that its pixels depend on."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.files import atomic_path, sha256_bytes, sha256_file, sha256_json
from ..core.provenance import cpu, package_versions

Images = NDArray[np.uint8]

_SUFFIX = ".pixels"
_OURS = (f"*{_SUFFIX}", f".*{_SUFFIX}.*.part")  # whole sets, and what a killed process left of one
_DIGEST_BYTES = 32
_OPTIONAL = ("simplejpeg", "av", "cykooz-resizer")
# The code that decides about pixels, below the package's folder: a change of it makes other sets.
_CODE = (
    "core/randomness.py",
    "inputs/*.py",
    "evaluate/corruptions/*.py",
    *(f"evaluate/{name}.py" for name in ("cells", "chunk", "decoded_sets", "prepared_sets", "set_recipes")),
)


class _Entry(NamedTuple):
    path: Path
    size: int
    used: float


class PreparedSets:
    """A folder of prepared images that runs one after the other, and processes side by side, share.

    A set is one file, the pixels and behind them a hash over recipe and pixels: it is whole or absent, a damaged one is
    made again, and a killed run loses the set it was writing. When the cap is reached the sets that were used longest
    ago go, but none that this run used: a run that needs more than the cap would else find nothing the next time. What
    does not fit, and everything once a write fails, is made anew as if there were no folder.

    Attributes:
        reads: Sets found.
        writes: Sets kept.
        damaged: Sets found damaged, and removed.
        unkept: Sets that did not fit.
        trouble: Why nothing is kept any more; empty where it is.

    Args:
        folder: Where they lie; made where it is not there. Files of other names in it are left alone.
        cap_bytes: Most bytes that all sets may take; processes side by side may exceed it by one set each.

    Raises:
        InputError: If the folder cannot be made.
    """

    def __init__(self, folder: Path, *, cap_bytes: int) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Prepared images cannot be kept in '{folder}': {error.strerror}. Name another."
            ) from error
        self._folder, self._cap, self._began = folder, cap_bytes, time.time()
        self._makers = makers()
        self.reads = self.writes = self.damaged = self.unkept = 0
        self.trouble = ""

    def find(self, recipe: Mapping[str, Any], shape: tuple[int, ...]) -> Images | None:
        """Give a set, mapped from its file, or None where it has to be made.

        Args:
            recipe: JSON data: all that decides about the pixels, but for the tools, which are added here.
            shape: (N, H, W, 3) of the set.

        Returns:
            The set of that shape; writing to it does not reach the file.
        """
        path = self._path(recipe)
        try:
            content: Images = np.memmap(path, np.uint8, mode="c").view(np.ndarray)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):  # an empty file cannot be mapped
            content = np.empty(0, np.uint8)
        pixels, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:].tobytes()
        if pixels.size != math.prod(shape) or _digest(path, pixels) != digest:
            self.damaged += 1
            _remove(path)
            return None
        _touch(path)
        self.reads += 1
        return pixels.reshape(shape)

    def keep(self, recipe: Mapping[str, Any], images: Images) -> None:
        """Keep a set, if there is room for it; a write that fails ends all keeping, not the run.

        Args:
            recipe: As for `find`.
            images: (N, H, W, 3) uint8.
        """
        if self.trouble:
            return
        path, pixels = self._path(recipe), np.ascontiguousarray(images).reshape(-1)
        try:
            if not self._make_room(pixels.size + _DIGEST_BYTES):
                self.unkept += 1
                return
            with atomic_path(path) as partial, partial.open("wb") as file:
                file.write(pixels.data)
                file.write(_digest(path, pixels))
                file.flush()
        except OSError as error:
            self.trouble = f"writing to '{self._folder}' failed: {error.strerror}"
        else:
            _touch(path)
            self.writes += 1

    def summary(self) -> str:
        """Say in a sentence how many sets were found and kept, and what went wrong."""
        found = f"Prepared sets: {self.reads} found, {self.writes} made and kept"
        found += f", {self.unkept} beyond the cap of {self._cap / 2**30:g} GiB" if self.unkept else ""
        found += f", {self.damaged} damaged and made again" if self.damaged else ""
        return found + (f"; {self.trouble}" if self.trouble else "")

    def _path(self, recipe: Mapping[str, Any]) -> Path:
        return self._folder / (sha256_json({"recipe": dict(recipe), "makers": self._makers}) + _SUFFIX)

    def _make_room(self, size: int) -> bool:
        """Remove the sets used longest ago until one more fits; none where that would not be enough."""
        entries = sorted(self._entries(), key=lambda entry: entry.used)
        free = self._cap - sum(entry.size for entry in entries)
        idle = [entry for entry in entries if entry.used < self._began]
        if free + sum(entry.size for entry in idle) < size:
            return False
        for entry in idle:
            if free >= size:
                break
            _remove(entry.path)
            free += entry.size
        return True

    def _entries(self) -> Iterator[_Entry]:
        for path in (path for pattern in _OURS for path in self._folder.glob(pattern)):
            with suppress(FileNotFoundError):  # another process removed it
                status = path.stat()
                yield _Entry(path, status.st_size, status.st_mtime)


def makers() -> dict[str, Any]:
    """Say as JSON data what makes pixels here: this package's code, the libraries below it, the processor."""
    root = Path(__file__).parents[1]
    files = [path for pattern in _CODE for path in sorted(root.glob(pattern))]
    code = {str(path.relative_to(root)): sha256_file(path) for path in files}
    processor, installed = cpu(), package_versions()
    return {
        "code": sha256_json(code),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "opencv": sha256_bytes(cv2.getBuildInformation().encode()),
        "optional": {name: installed.get(name) for name in _OPTIONAL},
        "cpu": [processor["model"], processor["features"]],
    }


def _digest(path: Path, pixels: Images) -> bytes:
    """Hash the recipe's hash, which is the file's name, with the pixels: a renamed set is no other set."""
    digest = hashlib.sha256(path.stem.encode())
    digest.update(pixels.data)
    return digest.digest()


def _touch(path: Path) -> None:
    now = time.time()  # the file system's own clock may lag behind
    with suppress(OSError):  # a folder that may only be read
        os.utime(path, (now, now))


def _remove(path: Path) -> None:
    with suppress(OSError):  # removed by another process, or not ours to remove: it is made again either way
        path.unlink()
