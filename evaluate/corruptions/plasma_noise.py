"""Veils of flowing colour."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .parameters import Draws, ParameterSet, Pixels, at_severity

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (4.75, 7, 8.5, 9.25, 10),
    "cifar10-c": (1.4, 2.8, 4.2, 5.6, 7),
}
"""The authors' level, 0 to 10, severities 1 to 5."""

STRENGTH = 64
"""Of the veils at level 10, in grey levels; the picture is dimmed by as much."""

FEWEST_FOLDS, MOST_FOLDS = 4, 6
"""How often the plane is folded."""

Floats = NDArray[np.float64]


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw the veils: (3,) their time, sharpness and scale in pixels; (1,) number of folds, 4 to 6.

    The scale is 0.075 to 0.2 of the longer side.
    """
    longer = max(shape[:2])
    shape_of = rng.uniform((0, 0.5, 0.075 * longer), (6 * np.pi, 1, 0.2 * longer))
    return shape_of, rng.integers(FEWEST_FOLDS, MOST_FOLDS, size=1, endpoint=True)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Dim the picture and add the veils; see ``Apply``.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273; with the same draws, equal in every byte.
    """
    (time, sharpness, scale), (folds,) = draws
    strength = at_severity(LEVEL, severity, parameters) * STRENGTH / 10
    veils = _veils(image.shape, float(time), float(sharpness), float(scale), int(folds))
    veiled: Pixels = np.clip((1 - strength / 255) * image + strength * veils, 0, 255).astype(np.uint8)
    return veiled


def _veils(shape: tuple[int, ...], time: float, sharpness: float, scale: float, folds: int) -> Floats:
    """Fold the plane, each time finer and more weakly, and colour it by where a point ends: (H, W, 3) in [-1, 1]."""
    x, y = np.arange(shape[1])[None] / scale, np.arange(shape[0])[:, None] / scale
    frequency, slowness, weakness = 1.0, 1.0, 1.0
    for _ in range(folds):
        along = np.cos(y * frequency + time / slowness) / weakness
        across = np.sin(x * frequency + time / slowness) / weakness
        x, y = x + (along - across * 0.3), y + (across + along * 0.3)
        frequency, slowness, weakness = frequency * 1.93, slowness * 1.15, weakness * (2.25 - sharpness)
    return np.stack([np.sin(x - time), np.sin((x + y + np.sin(time)) * 0.5), np.sin(y + time)], axis=2)
