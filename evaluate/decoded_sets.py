"""One data set prepared in several ways: a file is read once, and decoded once for each decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..inputs.dataset import Dataset, Sample
from ..inputs.loader import Failure
from ..inputs.pipeline import Pipeline
from .corruptions.jpeg import MAX_SIDE, encode
from .prepared_sets import PreparedSets
from .set_recipes import check_unchanged, loading

Images = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way from a stored file to the engine.

    Attributes:
        name: What records call it.
        pipeline: The preprocessing; the ways of one set agree on its size.
        quality: libjpeg's quality the decoded image is stored at once more before; None for the file as it is.
    """

    name: str
    pipeline: Pipeline
    quality: int | None = None


@dataclass(frozen=True, kw_only=True)
class PreparedBatch:
    """Some images in every way.

    Attributes:
        samples: The n images that every way could prepare.
        images: Way to (n, H, W, 3) uint8 at model size.
        failures: The images that some way could not prepare, and which.
    """

    samples: tuple[Sample, ...]
    images: Mapping[str, Images]
    failures: tuple[Failure, ...]


class DecodedOnce:
    """A data set whose files are decoded when a pipeline first asks for them, and then kept in memory.

    Args:
        dataset: The files.
        cap_bytes: Most memory the pixels may take; files beyond it are decoded anew each time.
    """

    def __init__(self, dataset: Dataset, *, cap_bytes: int = 256 << 20) -> None:
        self._dataset, self._free = dataset, cap_bytes
        self._kept: dict[tuple[Any, ...], Dataset] = {}

    def dataset(self, pipeline: Pipeline, *, threads: int) -> Dataset:
        """Give the data set as a pipeline's decoder leaves it; preparing it gives the same images as the files do.

        Args:
            pipeline: Only its decoder and what belongs to that matter. A reduced decoding is never kept.
            threads: Decoding threads, at least 1.
        """
        if pipeline.reduced_decoding:
            return self._dataset
        key = _decoding(pipeline)
        if key not in self._kept:
            with ThreadPoolExecutor(threads) as pool:
                found = pool.map(lambda sample: _with_pixels(sample, pipeline), self._dataset.samples)
                self._kept[key] = replace(self._dataset, samples=tuple(map(self._within_cap, found)))
        return self._kept[key]

    def _within_cap(self, pair: tuple[Sample, Sample]) -> Sample:
        stored, decoded = pair
        size = 0 if isinstance(decoded.source, Path) else decoded.source.nbytes
        if size > self._free:
            return stored
        self._free -= size
        return decoded


def _with_pixels(sample: Sample, pipeline: Pipeline) -> tuple[Sample, Sample]:
    """Give a sample as stored and decoded; one that does not decode stays as it is, and fails where it is used."""
    try:
        content = sample.read()
        if not isinstance(content, bytes):
            return sample, sample
        decoded = replace(sample, source=pipeline.decode(content))
        decoded.__dict__["sha256"] = sample.sha256  # random streams belong to the stored image
    except InputError:
        return sample, sample
    return sample, decoded


def prepared_batches(
    dataset: Dataset, ways: Sequence[Way], *, batch: int, threads: int, prepared: PreparedSets | None = None
) -> Iterator[PreparedBatch]:
    """Prepare a data set in every way, in memory for one batch of them whatever the data set's size.

    Args:
        dataset: The images.
        ways: At least one; all can run here.
        batch: Images per step, at least 1.
        threads: Decoding threads, at least 1; the result does not depend on it.
        prepared: Where whole batches of earlier runs are looked for, and kept if no image failed; None for nowhere.
    """
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(dataset), batch):
            samples = dataset.samples[start : start + batch]
            if prepared is not None and (found := _found(samples, ways, prepared)) is not None:
                yield found
                continue
            made = _gathered(samples, list(pool.map(lambda sample: _prepared(sample, ways), samples)), ways)
            if prepared is not None and not made.failures:
                _keep(made, ways, prepared)
            yield made


def _found(samples: Sequence[Sample], ways: Sequence[Way], prepared: PreparedSets) -> PreparedBatch | None:
    images = {}
    for way in ways:
        recipe = loading(samples, way.pipeline, way.quality)
        found = prepared.find(recipe, (len(samples), *way.pipeline.size, 3))
        if found is None:
            return None
        images[way.name] = found
    return PreparedBatch(samples=tuple(samples), images=images, failures=())


def _keep(made: PreparedBatch, ways: Sequence[Way], prepared: PreparedSets) -> None:
    check_unchanged(made.samples)
    for way in ways:
        prepared.keep(loading(made.samples, way.pipeline, way.quality), made.images[way.name])


def _gathered(
    samples: Sequence[Sample], results: Sequence[dict[str, Images] | str], ways: Sequence[Way]
) -> PreparedBatch:
    pairs = list(zip(samples, results, strict=True))
    good = [(sample, images) for sample, images in pairs if not isinstance(images, str)]
    empty = np.empty((0, *ways[0].pipeline.size, 3), np.uint8)
    return PreparedBatch(
        samples=tuple(sample for sample, _ in good),
        images={way.name: np.stack([images[way.name] for _, images in good]) if good else empty for way in ways},
        failures=tuple(Failure(sample, reason) for sample, reason in pairs if isinstance(reason, str)),
    )


def _prepared(sample: Sample, ways: Sequence[Way]) -> dict[str, Images] | str:
    """Give one image in every way, or the reason of the first way that fails: paired tests need all of them."""
    decoded: dict[tuple[Any, ...], Images] = {}
    found = {}
    try:
        content = sample.read()
        for way in ways:
            key = _decoding(way.pipeline)
            if key not in decoded:
                decoded[key] = way.pipeline.decode(content) if isinstance(content, bytes) else content
            pixels = decoded[key]
            found[way.name] = way.pipeline.load(pixels if way.quality is None else _stored(pixels, way.quality))
    except InputError as error:
        return str(error)
    return found


def _decoding(pipeline: Pipeline) -> tuple[Any, ...]:
    """Give what the decoded pixels depend on; a reduced decoding follows the geometry too."""
    return pipeline.decoder, pipeline.exif, pipeline.fingerprint if pipeline.reduced_decoding else ""


def _stored(pixels: Images, quality: int) -> bytes:
    if max(pixels.shape) > MAX_SIDE:
        raise InputError(f"Expected sides up to {MAX_SIDE} pixels to store as JPEG, got {pixels.shape[:2]}.")
    return encode(pixels, quality).tobytes()
