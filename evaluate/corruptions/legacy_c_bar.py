"""The random numbers that the published code of ImageNet-C-bar would have drawn, in its order; see ``legacy``.

Some of them come from a second stream, seeded by a number of the first.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import InputError
from . import checkerboard_cutout, plasma_noise, sparkles
from .parameters import Draws
from .perlin_noise import PERIOD
from .starlight import FEWEST_RAYS, MOST_RAYS

_SEEDS = 2**32


def c_bar_draws(name: str, state: np.random.RandomState, shape: tuple[int, ...]) -> Draws:
    """Draw what the published code draws for one image.

    Args:
        name: A name of ``IMAGENET_C_BAR``.
        state: Where the numbers come from; advanced.
        shape: (H, W, 3) with H = W: the published code knows squares alone.

    Raises:
        InputError: If the image is no square.
    """
    side = shape[0]
    if side != shape[1]:
        raise InputError(f"Expected a square image for the published draws of '{name}', got {shape}. Crop it first.")
    match name:
        case "single_frequency_greyscale":
            return _wave(state)
        case "cocentric_sine_waves":
            return state.uniform(0, side, 2), state.uniform(0, (10, side / 10, side / 10))
        case "plasma_noise":
            return _plasma(state, side)
        case "caustic_refraction":
            return (np.array([state.uniform(0.5, 2), state.uniform(0.75, 1.25) * side]),)
        case "sparkles":
            return _stars(state, state.uniform(0, side, (sparkles.STARS, 2)))
        case "inverse_sparkles":
            return _stars(state, state.uniform(0.25, 0.75, (1, 2)) * side)
        case "checkerboard_cutout":
            return _board(state, shape)
        case "perlin_noise":
            return _perlin(_second(state))
    return _phases(_second(state), side, 3 if name == "brownish_noise" else 1)


def _second(state: np.random.RandomState) -> np.random.RandomState:
    return np.random.RandomState(state.randint(0, _SEEDS))


def _wave(state: np.random.RandomState) -> Draws:
    largest = state.uniform(-np.pi, np.pi)
    frequencies = np.array([largest, state.uniform(-abs(largest), abs(largest))])[state.permutation(2)]
    return frequencies, state.uniform(0, 2 * np.pi, size=1)


def _plasma(state: np.random.RandomState, side: int) -> Draws:
    time = state.uniform(0, 6 * np.pi)
    folds = state.randint(plasma_noise.FEWEST_FOLDS, plasma_noise.MOST_FOLDS + 1, size=1)
    return np.array([time, state.uniform(0.5, 1), state.uniform(0.075, 0.2) * side]), folds


def _stars(state: np.random.RandomState, middles: np.ndarray) -> Draws:
    """Draw as many numbers as a star has rays, and pad them with zeros."""
    second = _second(state)
    rays = state.randint(FEWEST_RAYS, MOST_RAYS + 1, size=len(middles))
    numbers = np.zeros((len(rays), MOST_RAYS))
    for row, count in zip(numbers, rays, strict=True):
        row[:count] = second.standard_normal(count)
    return middles, rays, numbers


def _board(state: np.random.RandomState, shape: tuple[int, ...]) -> Draws:
    angle = state.uniform(0, 2 * np.pi, size=1)
    square = np.maximum(state.uniform(0.1, 0.25, size=1) * shape[0], 1)
    return angle, square, _second(state).random_sample((checkerboard_cutout.squares(shape, square[0]),) * 2)


def _perlin(state: np.random.RandomState) -> Draws:
    """Draw the directions, those beyond the period for nothing, and exchange each entry with any other."""
    directions = state.randint(0, 2**31, (2 * PERIOD + 2, 2))[:PERIOD] % (2 * PERIOD) - PERIOD
    scattering = np.arange(PERIOD)
    for entry in range(PERIOD - 1, -1, -1):
        other = state.randint(0, 2**31) % PERIOD
        scattering[[entry, other]] = scattering[[other, entry]]
    return directions, scattering


def _phases(state: np.random.RandomState, side: int, fields: int) -> Draws:
    drawn = [
        (state.uniform(0, 2 * np.pi, (side, side // 2)), state.uniform(0, 2 * np.pi, side // 2 * (side % 2)))
        for _ in range(fields)
    ]
    return np.stack([left for left, _ in drawn]), np.stack([middle for _, middle in drawn])
