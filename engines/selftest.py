"""Does an engine give one image the same scores every time and in every batch? Decides nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .protocol import Batch, Engine

BATCH_SIZES = (1, 8, 32)


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """What two passes over the same images at several batch sizes showed.

    Attributes:
        repeatable: True if a second pass gave the same bits at every batch size.
        batch_invariant: True if an image's scores are the same bits at every batch size and place in the batch.
        max_delta: Largest absolute difference between any two scores that should be equal, in the output's unit;
            infinite if one of them is finite and the other is not.
        flips: Images whose first-ranked class is not the same in all passes.
        images: Number of images.
        batch_sizes: Batch sizes that were run.
    """

    repeatable: bool
    batch_invariant: bool
    max_delta: float
    flips: int
    images: int
    batch_sizes: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the result as JSON data; an infinite difference becomes null."""
        document = asdict(self)
        document["max_delta"] = self.max_delta if np.isfinite(self.max_delta) else None
        document["batch_sizes"] = list(self.batch_sizes)
        return document


def self_test(engine: Engine, batch: Batch, *, batch_sizes: Sequence[int] = BATCH_SIZES) -> SelfTest:
    """Run the same images at several batch sizes, twice each, and compare the scores bit for bit.

    The last, incomplete batch is filled with images from the front. An engine of one fixed batch size is run with the
    images in order and with each moved one place on.

    Args:
        engine: Any engine.
        batch: (N, *spec.image_shape) of the engine's type, N >= 1; as many images as the largest batch show most.
        batch_sizes: Sizes to run; those larger than N are left out.

    Raises:
        InputError: If there is no image, or no batch size to run.
    """
    if not len(batch):
        raise InputError("Expected at least one image for the self-test, got none.")
    fixed = engine.spec.fixed_batch
    sizes = (fixed,) if fixed else tuple(size for size in sorted(set(batch_sizes)) if 0 < size <= len(batch))
    if not sizes:
        raise InputError(f"Expected a batch size in 1..{len(batch)}, got {tuple(batch_sizes)}.")
    passes = [(_scores(engine, batch, size), _scores(engine, batch, size)) for size in sizes]
    firsts = [first for first, _ in passes] + [_moved(engine, batch, sizes[-1])]
    everything = [*firsts, *(second for _, second in passes)]
    return SelfTest(
        repeatable=all(_same(first, second) for first, second in passes),
        batch_invariant=all(_same(firsts[0], scores) for scores in firsts[1:]),
        max_delta=max(_delta(everything[0], scores) for scores in everything[1:]),
        flips=_flips(everything),
        images=len(batch),
        batch_sizes=sizes,
    )


def _scores(engine: Engine, images: NDArray[Any], size: int) -> NDArray[np.float32]:
    return np.concatenate([engine.infer(chunk) for chunk in _chunks(images, size)])[: len(images)]


def _chunks(images: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    padded = np.resize(images, (-(-len(images) // size) * size, *images.shape[1:]))
    for start in range(0, len(padded), size):
        yield padded[start : start + size]


def _moved(engine: Engine, images: NDArray[Any], size: int) -> NDArray[np.float32]:
    return np.roll(_scores(engine, np.roll(images, 1, axis=0), size), -1, axis=0)


def _same(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    return bool(np.array_equal(first, second, equal_nan=True))


def _delta(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    differs = ~((first == second) | (np.isnan(first) & np.isnan(second)))
    with np.errstate(invalid="ignore"):
        gaps = np.abs(first[differs] - second[differs])
    return float(np.max(np.where(np.isnan(gaps), np.inf, gaps), initial=0.0))


def _flips(passes: Sequence[NDArray[np.float32]]) -> int:
    labels = np.stack([scores.argmax(axis=1) for scores in passes])
    return int((labels != labels[0]).any(axis=0).sum())
