"""Fog: a fractal of random brightness over the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .numbers import draw_codes, uniform_numbers
from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import TRUNCATION_GUARD, Floats


class Fog(NamedTuple):
    """Thickness, in pixel scale [0, 1], and the factor by which each finer step of the fractal is weaker."""

    thickness: float
    decay: float


FOG: Mapping[ParameterSet, tuple[Fog, ...]] = {
    "imagenet-c": (Fog(1.5, 2), Fog(2, 2), Fog(2.5, 1.7), Fog(2.5, 1.5), Fog(3, 1.4)),
    "cifar10-c": (Fog(0.2, 3), Fog(0.5, 3), Fog(0.75, 2.5), Fog(1, 2), Fog(1.5, 1.75)),
}
"""Severities 1 to 5."""

FIRST_WOBBLE = 100.0


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw a 16-bit code for each point of the fractal but the first: (map_side(H, W)^2 - 1,), from coarse to fine."""
    return (draw_codes(rng, (map_side(shape[0], shape[1]) ** 2 - 1,)),)


def map_side(height: int, width: int) -> int:
    """Give the side of the fractal: the power of two that holds the image, at least 2; 256 for 224 pixels."""
    return max(2, 1 << (max(height, width) - 1).bit_length())


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Add the fractal and scale back to the picture's largest value; see ``Apply``.

    ``draws``: (map_side(H, W)^2 - 1,) uint16 codes, or uniform numbers in [0, 1).

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261. float32 here: 1 byte in 1,000 differs by one level.
    """
    (uniform,) = draws
    fog = at_severity(FOG, severity, parameters)
    height, width = image.shape[:2]
    plasma = plasma_fractal(uniform_numbers(uniform), map_side(height, width), fog.decay)[:height, :width]
    largest = float(image.max()) / 255
    share = largest / (largest + fog.thickness)
    veil = plasma * np.float32(255 * fog.thickness * share) + np.float32(TRUNCATION_GUARD)
    foggy: Pixels = cv2.merge(
        [cv2.scaleAdd(channel.astype(np.float32), share, veil).astype(np.uint8) for channel in cv2.split(image)]
    )
    return foggy


def plasma_fractal(uniform: NDArray[np.floating], side: int, decay: float) -> Floats:
    """Build a diamond-square fractal that repeats at its edges.

    Points are filled in from a coarse grid to fine ones. Each new point is the mean of its four neighbours and a
    uniform wobble of plus or minus ``wobble^2``; the wobble shrinks by ``decay`` with each halving of the grid.

    Args:
        uniform: (side^2 - 1,) numbers in [0, 1): for each grid, those of the squares' middles, then those of the points
            on their horizontal and on their vertical edges.
        side: A power of two, 2 or more.
        decay: Above 1.

    Returns:
        (side, side) float32 in [0, 1].
    """
    grid = np.zeros((1, 1), uniform.dtype)
    for middles, horizontal, vertical in _steps(uniform, side, decay):
        points = len(grid)
        finer = np.empty((2 * points, 2 * points), uniform.dtype)
        corners = _closed(grid)
        beside, below = corners[:, :-1] + corners[:, 1:], corners[:-1] + corners[1:]
        middles += (beside[:-1] + beside[1:]) / 4
        finer[::2, ::2], finer[1::2, 1::2] = grid, middles
        finer[2::2, 1::2] = (middles[:-1] + middles[1:] + beside[1:-1]) / 4 + horizontal[1:]
        finer[0, 1::2] = (middles[-1] + middles[0] + beside[0]) / 4 + horizontal[0]
        finer[1::2, 2::2] = (middles[:, :-1] + middles[:, 1:] + below[:, 1:-1]) / 4 + vertical[:, 1:]
        finer[1::2, 0] = (middles[:, -1] + middles[:, 0] + below[:, 0]) / 4 + vertical[:, 0]
        grid = finer
    grid -= grid.min()
    grid /= grid.max()
    return grid.astype(np.float32, copy=False)


def _steps(uniform: NDArray[np.floating], side: int, decay: float) -> Iterator[NDArray[np.floating]]:
    """Give for each grid its wobbles, in (-wobble^2, wobble^2): (3, points, points)."""
    wobble, points, used = FIRST_WOBBLE, 1, 0
    while points < side:
        count = 3 * points**2
        numbers = uniform[used : used + count].reshape(3, points, points)
        yield wobble * (numbers * (2 * wobble) - wobble)
        wobble, points, used = wobble / decay, 2 * points, used + count


def _closed(grid: NDArray[np.floating]) -> NDArray[np.floating]:
    """Repeat the first row and column at the other end: the fractal goes on where it began."""
    closed = np.empty((grid.shape[0] + 1, grid.shape[1] + 1), grid.dtype)
    closed[:-1, :-1], closed[-1, :-1], closed[:-1, -1], closed[-1, -1] = grid, grid[0], grid[:, 0], grid[0, 0]
    return closed
