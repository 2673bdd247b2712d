"""A piece of the data set in memory: the stored bytes, and the uint8 images at model size made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..core.files import sha256_json
from ..core.provenance import available_cores
from ..core.store import ImageRow
from ..inputs.dataset import Dataset
from ..inputs.loader import load_images
from ..inputs.pipeline import Pipeline
from .decoded_sets import DecodedOnce
from .prepared_sets import PreparedSets
from .set_recipes import check_unchanged, loading
from .target import Answers

Images = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some consecutive images of the evaluated data set.

    Attributes:
        first: Position of its first image in the data set.
        dataset: The images, not yet decoded.
    """

    first: int
    dataset: Dataset

    @property
    def key(self) -> str:
        """Hash of which images these are, in order."""
        return sha256_json([sample.sha256 for sample in self.dataset.samples])

    @cached_property
    def _decoded(self) -> DecodedOnce:
        return DecodedOnce(self.dataset)

    def load(self, pipeline: Pipeline, prepared: PreparedSets | None = None) -> LoadedChunk:
        """Decode and resize every image; the ones that can't be are kept as failures.

        What one pipeline decoded, others with that decoder only resize.

        Args:
            pipeline: How.
            prepared: Where loaded images are looked for, and kept if all of them loaded; None for nowhere.

        Raises:
            InputError: If images are to be kept and a file is not the one that was hashed any more.
        """
        recipe = loading(self.dataset.samples, pipeline)
        if (
            prepared is not None
            and (found := prepared.find(recipe, (len(self.dataset), *pipeline.size, 3))) is not None
        ):
            return self._loaded(found, {})
        cores = available_cores()
        loaded = load_images(self._decoded.dataset(pipeline, threads=cores), pipeline, threads=cores)
        if prepared is not None:
            check_unchanged(self.dataset.samples)
            if not loaded.failures:
                prepared.keep(recipe, loaded.images)
        return self._loaded(loaded.images, {failure.sample.name: failure.reason for failure in loaded.failures})

    def _loaded(self, images: Images, reasons: Mapping[str, str]) -> LoadedChunk:
        samples = self.dataset.samples
        return LoadedChunk(
            positions=np.array(
                [self.first + i for i, s in enumerate(samples) if s.name not in reasons], dtype=np.int64
            ),
            names=tuple(s.name for s in samples if s.name not in reasons),
            hashes=tuple(s.sha256 for s in samples if s.name not in reasons),
            labels=np.array([s.label for s in samples if s.name not in reasons], dtype=np.int64),
            images=images,
            invalid=tuple(
                ImageRow(
                    position=self.first + i,
                    image=s.sha256,
                    name=s.name,
                    label=s.label,
                    prediction=None,
                    correct=False,
                    valid=False,
                    reason=reasons[s.name],
                )
                for i, s in enumerate(samples)
                if s.name in reasons
            ),
        )


@dataclass(frozen=True, kw_only=True)
class LoadedChunk:
    """The decodable images of a chunk, N of them, and rows for those that are not.

    Attributes:
        positions: (N,) int64, places in the data set.
        names: N names.
        hashes: N SHA-256 of the stored bytes.
        labels: (N,) int64.
        images: (N, H, W, 3) uint8 at model size.
        invalid: Rows of the undecodable images.
    """

    positions: NDArray[np.int64]
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    labels: NDArray[np.int64]
    images: Images
    invalid: tuple[ImageRow, ...]

    def rows(
        self, answers: Answers, *, images: Images, zero_gradient: NDArray[np.float64] | None = None
    ) -> list[ImageRow]:
        """Give one row per image of the chunk, in order of position.

        Args:
            answers: The engine's answers to ``images``.
            images: (N, H, W, 3) uint8, what the engine was shown.
            zero_gradient: (N,) share of zero entries in the gradients that made ``images``, if any did.
        """
        distance = np.abs(images.astype(np.int16) - self.images.astype(np.int16)).max(axis=(1, 2, 3), initial=0)
        found = [
            ImageRow(
                position=int(self.positions[i]),
                image=self.hashes[i],
                name=self.names[i],
                label=int(self.labels[i]),
                prediction=int(answers.prediction[i]) if answers.finite[i] else None,
                correct=bool(answers.finite[i] and answers.prediction[i] == self.labels[i]),
                tied=bool(answers.tied[i]),
                linf=int(distance[i]),
                zero_gradient=0.0 if zero_gradient is None else float(zero_gradient[i]),
                reason="" if answers.finite[i] else "the engine gave non-finite scores",
            )
            for i in range(len(self.names))
        ]
        return sorted([*found, *self.invalid], key=lambda row: row.position)
