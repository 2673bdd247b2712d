"""Labelled images, each known by the hash of its content. How they are found on disk lives in ``sources.py``."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.files import sha256_bytes, sha256_json
from ..core.randomness import image_stream

MAX_FILE_BYTES = 256 << 20
"""Largest image file that is read."""

UNLABELLED = -1
"""The label of an image whose class nobody gave."""

_HASH_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One stored image and its class. Whether it decodes is not known yet.

    Attributes:
        name: Path below the dataset's folder with ``/``, or the row's number for an ``.npz``.
        label: Class index, or ``UNLABELLED``.
        source: The file, or the decoded (H, W, 3) uint8 RGB pixels.
        declared_sha256: What the labels say the file's hash is, if they do.
    """

    name: str
    label: int
    source: Path | NDArray[np.uint8] = field(repr=False, compare=False)
    declared_sha256: str | None = None

    def read(self) -> bytes | NDArray[np.uint8]:
        """Give the file's bytes or the pixels.

        Raises:
            InputError: If the file cannot be read, exceeds ``MAX_FILE_BYTES``, or is not the one the labels declare.
        """
        content = self._content()
        if self.declared_sha256 not in (None, self.sha256):
            raise InputError(
                f"'{self.name}' has SHA-256 {self.sha256} and the labels declare {self.declared_sha256}: it is damaged "
                "or another file. Restore it."
            )
        return content

    def _content(self) -> bytes | NDArray[np.uint8]:
        if not isinstance(self.source, Path):
            return self.source
        try:
            if self.source.stat().st_size > MAX_FILE_BYTES:
                raise InputError(f"'{self.name}' exceeds {MAX_FILE_BYTES} bytes. Shrink or remove the file.")
            return self.source.read_bytes()
        except OSError as error:
            raise InputError(f"'{self.name}' cannot be read: {error.strerror}. Check the file.") from error

    @cached_property
    def sha256(self) -> str:
        """Give the SHA-256 of the file's bytes, or of the pixels in (H, W, 3) order; read once, then kept.

        Raises:
            InputError: If the file cannot be read.
        """
        content = self._content()
        return sha256_bytes(content if isinstance(content, bytes) else content.tobytes())


class Split(NamedTuple):
    """Two datasets without a common sample."""

    first: Dataset
    rest: Dataset


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images with labels, in a fixed order.

    Attributes:
        samples: At least one; names are unique.
        class_names: Name of each class index, or None when nobody gave them.
        skipped: Names of the files that lie among the images and are none.
    """

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Give the class indices, (N,) int64, in the samples' order."""
        return np.array([sample.label for sample in self.samples], dtype=np.int64)

    @cached_property
    def manifest(self) -> tuple[tuple[str, int, str], ...]:
        """Give (name, label, sha256) of every sample, in order. Reads every file the first time.

        Raises:
            InputError: If a file cannot be read.
        """
        with ThreadPoolExecutor(_HASH_THREADS) as pool:
            hashes = list(pool.map(lambda sample: sample.sha256, self.samples))
        return tuple((sample.name, sample.label, sha256) for sample, sha256 in zip(self.samples, hashes, strict=True))

    @cached_property
    def manifest_sha256(self) -> str:
        """Give one hash over names, labels and contents in order: equal hashes mean equal experiments."""
        return sha256_json([list(row) for row in self.manifest])

    def subset(self, count: int, seed: int) -> Dataset:
        """Draw ``count`` samples without replacement.

        The draw is a seeded permutation, never the first of a folder sorted by class. With one seed a smaller subset
        is the beginning of a larger one.

        Args:
            count: 1..len(self).
            seed: Any integer.

        Raises:
            InputError: If there are fewer samples than asked for.
        """
        if not 1 <= count <= len(self):
            raise InputError(f"Expected a subset of 1..{len(self)} images, got {count}. Ask for what the folder holds.")
        return self._pick(self._order(seed)[:count])

    def split(self, first_count: int, seed: int) -> Split:
        """Cut the dataset in two, e.g. calibration images and the rest; ``first`` equals ``subset`` of that size.

        Args:
            first_count: 1..len(self) - 1.
            seed: Any integer.

        Raises:
            InputError: If one side would be empty.
        """
        if not 1 <= first_count < len(self):
            raise InputError(
                f"Expected to split off 1..{len(self) - 1} of {len(self)} images, got {first_count}. "
                "Leave at least one on each side."
            )
        order = self._order(seed)
        return Split(first=self._pick(order[:first_count]), rest=self._pick(order[first_count:]))

    def _order(self, seed: int) -> NDArray[np.intp]:
        # Raw Philox words are fixed for all NumPy versions; Generator.permutation is not.
        stream: Any = image_stream(seed, "subset", "").bit_generator
        return np.argsort(stream.random_raw(len(self)), kind="stable")

    def _pick(self, order: NDArray[np.intp]) -> Dataset:
        return replace(self, samples=tuple(self.samples[index] for index in order))


def check_labels(samples: Sequence[Sample], classes: int) -> None:
    """Refuse samples whose class a model does not have.

    Args:
        samples: What will be scored.
        classes: Number of the model's classes.

    Raises:
        InputError: If a label lies outside 0..classes-1, naming the first such sample.
    """
    for sample in samples:
        if not 0 <= sample.label < classes:
            raise InputError(
                f"Expected labels in 0..{classes - 1}, got {sample.label} for '{sample.name}'. "
                "Check that data and model use the same classes."
            )
