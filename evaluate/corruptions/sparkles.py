"""Five white stars over the picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity
from .starlight import SPREAD, draw_rays, starlight

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (1, 2, 3, 5, 6),
    "cifar10-c": (0.7, 3.5, 5.6, 6.3, 7),
}
"""The authors' level, 0 to 10, severities 1 to 5: hundredths of the longer side that rays are long."""

STARS = 5


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw where the stars are, (5, 2) pixels down and right, and their rays; see ``draw_rays``."""
    return rng.random((STARS, 2)) * shape[:2], *draw_rays(rng, STARS)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Lead every pixel towards white by the light of each star; see ``Apply``.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273, who round to float32 after each star: with the same draws 1 byte
        in 100,000 differs by one level.
    """
    middles, rays, numbers = draws
    mean = at_severity(LEVEL, severity, parameters) * 0.1 / 10 * max(image.shape[:2])
    dark = np.ones(image.shape[:2])
    for middle, count, normal in zip(middles, rays, numbers, strict=True):
        dark *= 1 - starlight(image.shape, middle, np.maximum(1, mean + SPREAD * mean * normal[:count]), 1)
    sparkling: Pixels = (255 - (255 - image) * dark[..., None]).astype(np.uint8)
    return sparkling
