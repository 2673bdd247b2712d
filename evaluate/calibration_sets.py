"""Good and bad ways to choose calibration images: how many, which ones, how prepared, and what may be mixed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.files import sha256_json
from ..core.randomness import image_stream
from ..inputs.catalog import find_preset
from ..inputs.dataset import UNLABELLED, Dataset
from ..inputs.loader import Loaded, stream_images
from ..inputs.pipeline import Pipeline
from .attacks.climb import Ascent
from .attacks.gradient import TransferTask
from .attacks.mifgsm import mifgsm
from .corruptions.catalog import corrupt
from .twin.twin import Twin

SIZES = (8, 32, 128)
"""Numbers of images compared, beside the baseline's own and all there are."""

SEEDS = (0, 1, 2)
"""Draws compared at each number of images, counted from the study's seed."""

POISON_SHARE = 0.05
"""Share of foreign images in a poisoned set, rounded up."""

POISON_EPS = 8
_SQUARE = 2  # pixels: on a coarser board most filters see flat colour
_BATCH = 8

Images = NDArray[np.uint8]
Alter = Callable[[Loaded], Images]


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """One way to choose calibration images.

    Attributes:
        name: What reports call it, e.g. ``random:128,seed=0`` or ``poison:checkerboard``.
        dataset: The stored images.
        pipeline: How they are prepared, on purpose not always as the model wants it.
        alter: What is done to the prepared uint8 images, or None.
        missing: Why the set can't be had from this pool; empty where it can. Then ``dataset`` is not used.
    """

    name: str
    dataset: Dataset
    pipeline: Pipeline
    alter: Alter | None = None
    missing: str = ""

    def batches(self, threads: int) -> Iterator[NDArray[np.float32]]:
        """Give the images as the model takes them, (n, ...) float32; files that do not decode are left out."""
        for loaded in stream_images(self.dataset, self.pipeline, batch=_BATCH, threads=threads):
            if len(loaded.images):
                images = loaded.images if self.alter is None else self.alter(loaded)
                yield self.pipeline.tensor(images)

    @property
    def data_sha256(self) -> str:
        """Hash of the set: its name, its images and how they are prepared."""
        return sha256_json([self.name, self.dataset.manifest_sha256, self.pipeline.fingerprint])


def calibration_sets(
    pool: Dataset, pipeline: Pipeline, *, size: int, seed: int = 0, twin: Twin | None = None
) -> list[CalibrationSet]:
    """Give every set of the study; the first is the baseline, ``size`` images drawn at random and prepared rightly.

    The others change one thing each: the number of images and the draw (``random:8,seed=1``, ``all``), the classes
    (``one-class``, ``balanced``), the images (``gaussian_noise:5``, ``uniform-noise``), their preparation
    (``preset:opencv-nearest``, ``preset:swapped-channels``), or 5 % of the images (``poison:checkerboard`` with black
    and white squares of two pixels, ``poison:mifgsm`` attacked on the twin at 8 grey levels).

    Args:
        pool: Images that calibration may use; none of them may be evaluated.
        pipeline: The model's preprocessing.
        size: Images of the baseline and of every set that is not about size.
        seed: Seed of the baseline's draw and of the noise.
        twin: The float model's twin; without it ``poison:mifgsm`` is missing.

    Raises:
        InputError: If the pool holds fewer than ``size`` images.
    """
    if len(pool) < size:
        raise InputError(f"Expected at least {size} images to calibrate with, got {len(pool)}. Lower the size.")
    base = CalibrationSet(name=f"random:{size},seed={seed}", dataset=pool.subset(size, seed), pipeline=pipeline)
    return [
        base,
        *_draws(base, pool, size, seed),
        replace(base, name="all", dataset=pool.subset(len(pool), seed)),
        *_by_class(base, pool, size, seed),
        replace(base, name="gaussian_noise:5", alter=_corrupted(seed)),
        replace(base, name="uniform-noise", alter=_uniform(seed)),
        replace(base, name="preset:opencv-nearest", pipeline=pipeline.with_geometry_of(find_preset("opencv-nearest"))),
        replace(base, name="preset:swapped-channels", pipeline=_swapped(pipeline)),
        *_poisoned(base, twin, seed),
    ]


def _draws(base: CalibrationSet, pool: Dataset, size: int, seed: int) -> Iterator[CalibrationSet]:
    for count in sorted({*SIZES, size}):
        for draw in (seed + step for step in SEEDS):
            name = f"random:{count},seed={draw}"
            if count > len(pool):
                yield replace(base, name=name, missing=f"the pool holds {len(pool)} images")
            elif name != base.name:
                yield replace(base, name=name, dataset=pool.subset(count, draw))


def _by_class(base: CalibrationSet, pool: Dataset, size: int, seed: int) -> Iterator[CalibrationSet]:
    shuffled = pool.subset(len(pool), seed).samples
    labels = np.array([sample.label for sample in shuffled])
    if (labels == UNLABELLED).any():
        for name in ("one-class", "balanced"):
            yield replace(base, name=name, missing="the pool's images have no labels")
        return
    classes, counts = np.unique(labels, return_counts=True)
    largest = np.flatnonzero(labels == classes[counts.argmax()])[:size]
    few = f"no class has {size} images" if len(largest) < size else ""
    yield replace(base, name="one-class", dataset=_picked(pool, shuffled, largest), missing=few)
    # The n-th image of every class comes before the n+1-th of any: the sets' classes differ by one image at most.
    rank = np.array([int((labels[:place] == label).sum()) for place, label in enumerate(labels)])
    order = np.argsort(rank, kind="stable")[:size]
    yield replace(base, name="balanced", dataset=_picked(pool, shuffled, order))


def _picked(pool: Dataset, samples: Sequence[object], places: NDArray[np.intp]) -> Dataset:
    return replace(pool, samples=tuple(samples[place] for place in places))


def _swapped(pipeline: Pipeline) -> Pipeline:
    """Give the usual mistake: the other channel order, mean and std left as they are."""
    return replace(pipeline, name=f"{pipeline.name}-swapped", colour="rgb" if pipeline.colour == "bgr" else "bgr")


def _corrupted(seed: int) -> Alter:
    return lambda loaded: np.stack([corrupt(image, "gaussian_noise", severity=5, seed=seed) for image in loaded.images])


def _uniform(seed: int) -> Alter:
    def draw(sha256: str, shape: tuple[int, ...]) -> Images:
        return image_stream(seed, "uniform-noise", sha256).integers(0, 256, shape, dtype=np.uint8)

    return lambda loaded: np.stack([draw(sha256, loaded.images.shape[1:]) for sha256 in loaded.hashes])


def _poisoned(base: CalibrationSet, twin: Twin | None, seed: int) -> Iterator[CalibrationSet]:
    count = max(1, int(np.ceil(POISON_SHARE * len(base.dataset))))
    bad = frozenset(sample.sha256 for sample in base.dataset.samples[:count])
    yield replace(base, name="poison:checkerboard", alter=_mixed_in(bad, lambda loaded: checkerboards(loaded.images)))
    if twin is None:
        yield replace(base, name="poison:mifgsm", missing="the model has no twin to take gradients from")
        return
    source = twin

    def attacked(loaded: Loaded) -> Images:
        labels = source.scores(loaded.images).argmax(axis=1)
        task = TransferTask(images=loaded.images, labels=labels, hashes=loaded.hashes, source=source, seed=seed)
        return mifgsm(task, Ascent(eps=POISON_EPS)).adversarials

    yield replace(base, name="poison:mifgsm", alter=_mixed_in(bad, attacked))


def _mixed_in(bad: frozenset[str], make: Alter) -> Alter:
    def alter(loaded: Loaded) -> Images:
        chosen = np.array([sha256 in bad for sha256 in loaded.hashes])
        return np.where(chosen[:, None, None, None], make(loaded), loaded.images) if chosen.any() else loaded.images

    return alter


def checkerboards(images: Images) -> Images:
    """Give a board of black and white squares, two pixels wide, for each image: (N, H, W, 3) uint8, 0 or 255."""
    rows, columns = (np.arange(side) // _SQUARE for side in images.shape[1:3])
    board = ((rows[:, None] + columns) % 2 * 255).astype(np.uint8)
    return np.broadcast_to(board[None, :, :, None], images.shape)
