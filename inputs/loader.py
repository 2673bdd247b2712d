"""Datasets through a pipeline, decoded by a pool of threads, in order. What fails is handed on with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, UnsupportedError
from .dataset import Dataset, Sample
from .pipeline import Pipeline


class Failure(NamedTuple):
    """A sample that could not be loaded, and why."""

    sample: Sample
    reason: str


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Images at the model's size; the four columns and ``images`` have one entry per image that loaded.

    Attributes:
        images: (N, H, W, 3) uint8 in the pipeline's channel order.
        labels: (N,) int64.
        names: The samples' names.
        hashes: SHA-256 of each stored image.
        failures: The samples that did not load, in the dataset's order.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    failures: tuple[Failure, ...]


class _Image(NamedTuple):
    pixels: NDArray[np.uint8]
    sha256: str


def load_images(
    dataset: Dataset, pipeline: Pipeline, *, threads: int, progress: Callable[[int, int], None] | None = None
) -> Loaded:
    """Load a whole dataset into memory.

    Args:
        dataset: What to load.
        pipeline: How to prepare it.
        threads: Decoding threads, at least 1. The result does not depend on it.
        progress: Called with (done, total) from the calling thread.

    Returns:
        The images in the dataset's order; 150 kB each at 224 x 224.

    Raises:
        UnsupportedError: If the pipeline needs a package that is not installed.
    """
    results: list[_Image | str] = []
    with ThreadPoolExecutor(_checked(threads)) as pool:
        for result in pool.map(lambda sample: _load(sample, pipeline), dataset.samples):
            results.append(result)
            if progress is not None:
                progress(len(results), len(dataset))
    return _gather(dataset.samples, results, pipeline)


def stream_images(dataset: Dataset, pipeline: Pipeline, *, batch: int, threads: int) -> Iterator[Loaded]:
    """Load a dataset batch by batch, in memory for two batches whatever the dataset's size.

    The next batch decodes while the caller works on the current one.

    Args:
        dataset: What to load.
        pipeline: How to prepare it.
        batch: Samples per step, at least 1; a step has fewer images where some fail, and may have none.
        threads: Decoding threads, at least 1.

    Yields:
        The samples' images in the dataset's order.
    """
    chunks = [dataset.samples[start : start + batch] for start in range(0, len(dataset), batch)]
    with ThreadPoolExecutor(_checked(threads)) as pool:

        def submit(chunk: Sequence[Sample]) -> list[Future[_Image | str]]:
            return [pool.submit(_load, sample, pipeline) for sample in chunk]

        pending = submit(chunks[0])
        for index, chunk in enumerate(chunks):
            following = submit(chunks[index + 1]) if index + 1 < len(chunks) else []
            yield _gather(chunk, [future.result() for future in pending], pipeline)
            pending = following


def _checked(threads: int) -> int:
    if threads < 1:
        raise InputError(f"Expected `threads` of at least 1, got {threads}. Leave it at 1 for one.")
    return threads


def _load(sample: Sample, pipeline: Pipeline) -> _Image | str:
    try:
        return _Image(pipeline.load(sample.read()), sample.sha256)
    except UnsupportedError:  # the pipeline cannot run here, whatever the image
        raise
    except InputError as error:
        return str(error)


def _gather(samples: Sequence[Sample], results: Sequence[_Image | str], pipeline: Pipeline) -> Loaded:
    good = [(sample, result) for sample, result in zip(samples, results, strict=True) if isinstance(result, _Image)]
    images = np.empty((len(good), *pipeline.size, 3), np.uint8)
    for row, (_, image) in enumerate(good):
        images[row] = image.pixels
    return Loaded(
        images=images,
        labels=np.array([sample.label for sample, _ in good], dtype=np.int64),
        names=tuple(sample.name for sample, _ in good),
        hashes=tuple(image.sha256 for _, image in good),
        failures=tuple(
            Failure(sample, result) for sample, result in zip(samples, results, strict=True) if isinstance(result, str)
        ),
    )
