"""Frost without photographs: crystals grown from a fractal, laid over the picture as in ``frost``.

This is no corruption of ImageNet-C. It has the strengths of its frost and none of its pictures, so it bears another
name and counts towards no mean over ImageNet-C.
"""

from __future__ import annotations

import numpy as np

from . import frost
from .fog import map_side, plasma_fractal
from .numbers import draw_codes, uniform_numbers
from .parameters import Draws, ParameterSet, Pixels

_DECAY = 1.7  # rough enough for crystals, coarse enough for clear patches
_SHARPNESS = 3
_COLOUR = np.array([215, 232, 250], np.float32)


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw the frost itself: (H, W, 3) uint8 RGB."""
    height, width = shape[:2]
    side = map_side(height, width)
    fractal = plasma_fractal(uniform_numbers(draw_codes(rng, (side**2 - 1,))), side, _DECAY)[:height, :width]
    ridges = (1 - np.abs(2 * fractal - 1)) ** _SHARPNESS
    return ((ridges[..., None] * _COLOUR).astype(np.uint8),)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Add picture and frost with the weights of ``frost`` and clip; see ``Apply``.

    ``draws``: (H, W, 3) uint8 RGB, the frost.
    """
    return frost.apply(image, draws, severity, parameters)
