"""A white veil that one star of rays leaves clear."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity
from .starlight import SPREAD, draw_rays, starlight

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (1, 2, 4, 9, 10),
    "cifar10-c": (1, 1.5, 2.5, 4.5, 5),
}
"""The authors' level, 0 to 10, severities 1 to 5."""

STEEPNESS = 65
"""Of the veil at level 10, in fiftieths of the power by which it grows with the squared distance."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw where the star is, (1, 2) pixels down and right in the middle half, and its rays; see ``draw_rays``."""
    return rng.uniform(0.25, 0.75, (1, 2)) * shape[:2], *draw_rays(rng, 1)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Lead every pixel towards white where the light of the star does not reach; see ``Apply``.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273; with the same draws, equal in every byte.
    """
    (middle,), (count,), (normal,) = draws
    power = at_severity(LEVEL, severity, parameters) * STEEPNESS / 10 / 50
    mean = 0.25 * max(image.shape[:2])
    light = starlight(image.shape, middle, mean + SPREAD * mean * normal[:count], power)
    veiled: Pixels = (255 - (255 - image) * light[..., None]).astype(np.uint8)
    return veiled
