"""Random fields whose spectrum has a given amplitude at each frequency and random phases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .parameters import Draws

Floats = NDArray[np.float64]


def draw_phases(rng: np.random.Generator, shape: tuple[int, ...], fields: int) -> Draws:
    """Draw angles in radians: (fields, H, W // 2) for the left half of each spectrum, and for the middle column.

    The column is there for odd widths, (fields, H // 2) for its upper half; else (fields, 0).
    """
    height, width = shape[:2]
    column = height // 2 if width % 2 else 0
    left, middle = (rng.uniform(0, 2 * np.pi, size) for size in ((fields, height, width // 2), (fields, column)))
    return left, middle


def distances(shape: tuple[int, ...]) -> Floats:
    """Give each frequency's distance to the middle of the spectrum, where the mean is: (H, W) float64."""
    height, width = shape[:2]
    return np.sqrt((np.arange(height)[:, None] - height / 2) ** 2 + (np.arange(width) - width / 2) ** 2)


def field(amplitude: Floats, left: Floats, middle: Floats) -> Floats:
    """Make one field of standard deviation 1; of a single pixel, 0.

    Args:
        amplitude: (H, W) float64, the mean in the middle.
        left: (H, W // 2) phases; the right half is the left turned by 180 degrees.
        middle: (H // 2,) phases of the upper half of the middle column, for odd widths.

    Returns:
        (H, W) float64: the real part, as the reference takes it, of a field that is not real.
    """
    height, width = amplitude.shape
    waves = np.exp(1j * left)
    halves = [waves, waves[::-1, ::-1]]
    if width % 2:
        upper = np.exp(1j * middle)
        halves.insert(1, np.concatenate([upper, np.ones(height % 2), upper[::-1]])[:, None])
    spectrum = np.roll(amplitude * np.concatenate(halves, axis=1), (height // 2, width // 2), axis=(0, 1))
    noise = np.fft.ifft2(spectrum).real
    spread = noise.std()
    return noise / spread if spread else np.zeros_like(noise)
