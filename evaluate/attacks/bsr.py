"""BSR: the gradient is averaged over copies whose blocks are shuffled and rotated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from .climb import Ascent, Estimate, climb
from .gradient import Floats, Images, Probe, TransferResult, TransferTask, at_least

COPIES, BLOCKS, DEGREES = 10, 2, 24.0


class Mixing(NamedTuple):
    """A linear map of pixels to pixels: each takes up to four, with weights.

    Attributes:
        sources: (4, H * W) int64, flat positions read.
        weights: (4, H * W) float64; zero where nothing is read.
    """

    sources: NDArray[np.int64]
    weights: Floats


def bsr(task: TransferTask, ascent: Ascent, *, copies: int = COPIES, blocks: int = BLOCKS) -> TransferResult:
    """Raise the loss of copies whose blocks were shuffled and rotated, so that no attention to a place is relied on.

    Args:
        task: Images, labels and the source of gradients.
        ascent: Radius, steps and momentum.
        copies: Shuffled copies N per step; the paper takes 20, its code 10.
        blocks: Blocks along each axis.

    Returns:
        The uint8 adversarials of the last step, at most eps levels away, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated, or there are more blocks than pixels.

    Reference:
        Wang et al. 2024, arXiv 2308.10299, eq. 4 and section 3.3, 2 x 2 blocks, up to 24 degrees. Every block is
        rotated on its own and black fills its corners.
    """
    at_least("copies", copies, 1)
    at_least("blocks", blocks, 1)
    if blocks > min(task.images.shape[1:3]):
        raise InputError(f"Expected at most {min(task.images.shape[1:3])} blocks for these images, got {blocks}.")
    estimate = _shuffling(task, f"bsr:eps={ascent.eps}", copies, blocks)
    return climb(task, ascent, estimate=estimate)


def _shuffling(task: TransferTask, name: str, copies: int, blocks: int) -> Estimate:
    streams = list(task.streams(name))
    height, width = task.images.shape[1:3]

    def estimate(probe: Probe, images: Images | Floats, momentum: Floats) -> Floats:
        total = np.zeros(images.shape)
        for _ in range(copies):
            mixings = [draw_mixing(rng, height, width, blocks) for rng in streams]
            mixed = np.zeros(images.shape)
            for i, mixing in enumerate(mixings):
                mixed[i] = mix(images[i].astype(np.float64), mixing)
            for i, gradient in enumerate(probe.gradient(mixed)):
                total[i] += mix_back(gradient, mixings[i])
        return total / copies

    return estimate


def draw_mixing(rng: np.random.Generator, height: int, width: int, blocks: int) -> Mixing:
    """Draw cuts, an order of the strips along one axis and of the blocks in each strip, and an angle per block."""
    by_rows = bool(rng.integers(2))
    outer, inner = (height, width) if by_rows else (width, height)
    rows = np.zeros((height, width), dtype=np.float64)
    columns = np.zeros((height, width), dtype=np.float64)
    inside = np.zeros((4, height, width), dtype=np.float64)  # first row, last row, first and last column of the block
    for strip_to, strip_from in _shuffled(rng, outer, blocks):
        for part_to, part_from in _shuffled(rng, inner, blocks):
            pairs = (strip_to, part_to), (strip_from, part_from)
            window, (top, left) = (pair if by_rows else pair[::-1] for pair in pairs)
            rows[window], columns[window] = _turned(top, left, np.deg2rad(rng.uniform(-DEGREES, DEGREES)))
            for bound, value in zip(inside, (top.start, top.stop - 1, left.start, left.stop - 1), strict=True):
                bound[window] = value
    return read_between(rows, columns, inside)


def mix(image: Floats, mixing: Mixing) -> Floats:
    """Apply the map to an image, (H, W, 3)."""
    pixels = image.reshape(-1, image.shape[2])
    mixed = np.zeros_like(pixels)
    for source, weight in zip(*mixing, strict=True):
        mixed += pixels[source] * weight[:, None]
    return mixed.reshape(image.shape)


def mix_back(gradient: Floats, mixing: Mixing) -> Floats:
    """Apply the transposed map to a gradient, (H, W, 3)."""
    pixels = gradient.reshape(-1, gradient.shape[2])
    sources = mixing.sources.ravel()
    mixed = np.empty(pixels.shape)
    for channel in range(pixels.shape[1]):
        values = (mixing.weights * pixels[:, channel]).ravel()
        mixed[:, channel] = np.bincount(sources, weights=values, minlength=len(pixels))
    return mixed.reshape(gradient.shape)


def _shuffled(rng: np.random.Generator, size: int, blocks: int) -> list[tuple[slice, slice]]:
    """Cut an axis into parts of random length, and give (where to, where from) for a random order of them."""
    cuts = np.sort(rng.choice(np.arange(1, size), blocks - 1, replace=False)).tolist()
    parts = [slice(first, last) for first, last in zip([0, *cuts], [*cuts, size], strict=True)]
    found, place = [], 0
    for index in rng.permutation(blocks):
        length = parts[index].stop - parts[index].start
        found.append((slice(place, place + length), parts[index]))
        place += length
    return found


def _turned(top: slice, left: slice, angle: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the place that each pixel of a block is read from: the block turned about its centre."""
    rows, columns = np.mgrid[top, left].astype(np.float64)
    middle, centre = (top.start + top.stop - 1) / 2, (left.start + left.stop - 1) / 2
    down, right = rows - middle, columns - centre
    cosine, sine = np.cos(angle), np.sin(angle)
    return middle + cosine * down - sine * right, centre + sine * down + cosine * right


def read_between(rows: Floats, columns: Floats, inside: Floats) -> Mixing:
    """Give the four pixels around each place; those outside its block have weight zero.

    Args:
        rows: (H, W) where each pixel is read from, in pixels.
        columns: (H, W) likewise.
        inside: First row, last row, first and last column that may be read, (4, H, W) or (4, 1, 1).
    """
    width = rows.shape[1]
    sources, weights = [], []
    for row, row_share in ((np.floor(rows), 1 - rows % 1), (np.floor(rows) + 1, rows % 1)):
        for column, column_share in ((np.floor(columns), 1 - columns % 1), (np.floor(columns) + 1, columns % 1)):
            held = (row >= inside[0]) & (row <= inside[1]) & (column >= inside[2]) & (column <= inside[3])
            sources.append(np.where(held, row * width + column, 0).ravel().astype(np.int64))
            weights.append((row_share * column_share * held).ravel())
    return Mixing(np.stack(sources), np.stack(weights))
