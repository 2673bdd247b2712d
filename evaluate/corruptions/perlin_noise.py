"""Clouds of grey: turbulence of Perlin's noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .parameters import Draws, ParameterSet, Pixels, at_severity

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (4.6, 5.2, 5.8, 7.6, 8.8),
    "cifar10-c": (5.2, 6.4, 7.6, 8.8, 10),
}
"""The authors' level, 0 to 10, severities 1 to 5."""

SHARE = 0.5
"""Of the clouds in the result, at level 10."""

PERIOD = 256
"""Cells after which the noise repeats."""

_CELLS = 7  # along the longer side, of the coarsest grid
_OCTAVES = (1, 2, 4, 8, 16)
_ORIGIN = 4096  # added to every coordinate, by which the reference loses some digits

Floats = NDArray[np.float64]


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw (256, 2) directions in [-256, 256), of any length, and a permutation (256,) that scatters them."""
    return rng.integers(-PERIOD, PERIOD, (PERIOD, 2)), rng.permutation(PERIOD)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Mix the picture with the clouds; see ``Apply``.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273; Perlin 1985. With the same draws, equal in every byte.
    """
    directions, scattering = draws
    share = at_severity(LEVEL, severity, parameters) * SHARE / 10
    lengths = np.sqrt((directions.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    gradients = directions / np.maximum(lengths, 1)  # a direction of length 0 has no gradient
    turbulence = sum(np.abs(_noise(image.shape, octave, gradients, scattering)) / octave for octave in _OCTAVES)
    clouds = np.clip(0.5 * turbulence + 0.5, 0, 1)
    mixed = image.astype(np.float32) * np.float32(1 - share) + (255 * share * clouds)[..., None]
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _noise(shape: tuple[int, ...], octave: int, gradients: Floats, scattering: NDArray[np.integer]) -> Floats:
    """Give Perlin's noise on a grid of ``7 octave`` cells along the longer side: (H, W) float64, 0 on the grid.

    At each corner of a cell stands a gradient; a point's value is the mean of the four slopes there, weighted by a
    smooth step. Mean and slopes are sums over products of a row's and a column's part.
    """
    rows, columns = (_steps(side, octave, max(shape[:2])) for side in shape[:2])
    grid = [np.arange(steps.cell[-1] + 2) % PERIOD for steps in (rows, columns)]
    corners = gradients[scattering[(scattering[grid[0]][:, None] + grid[1]) % PERIOD]]
    down = _mix(_mix(corners[..., 0], rows.cell, rows.slope).T, columns.cell, columns.weight)
    right = _mix(_mix(corners[..., 1], rows.cell, rows.weight).T, columns.cell, columns.slope)
    return 1.5 * (down + right).T


class _Steps(NamedTuple):
    """For each pixel along a side: its cell, and for both ends of the cell their weight, and weight times distance."""

    cell: NDArray[np.intp]
    weight: tuple[Floats, Floats]
    slope: tuple[Floats, Floats]


def _steps(side: int, octave: int, longer: int) -> _Steps:
    place = octave * (np.arange(side) * (_CELLS / longer)) + _ORIGIN
    after = place % 1
    far = after**2 * (3 - 2 * after)
    cell = (place - _ORIGIN).astype(np.intp)
    return _Steps(cell=cell, weight=(1 - far, far), slope=((1 - far) * after, far * (after - 1)))


def _mix(values: Floats, cell: NDArray[np.intp], parts: tuple[Floats, Floats]) -> Floats:
    """Add the rows at both ends of each cell, each times its part."""
    mixed: Floats = values.take(cell, axis=0) * parts[0][:, None] + values.take(cell + 1, axis=0) * parts[1][:, None]
    return mixed
