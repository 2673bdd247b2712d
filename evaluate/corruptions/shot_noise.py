"""Shot noise: each value is a count of photons, so bright places are noisier than dark ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .numbers import CODES, draw_codes
from .parameters import Draws, ParameterSet, Pixels, at_severity

PHOTONS: Mapping[ParameterSet, tuple[int, ...]] = {
    "imagenet-c": (60, 25, 12, 5, 3),
    "cifar10-c": (500, 250, 100, 75, 50),
}
"""Mean number of photons where the image is white, severities 1 to 5."""

_UNSURE = np.int16(-1)


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw one 16-bit code for every value of the image."""
    return (draw_codes(rng, shape),)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Replace each value by a Poisson count around it, white being ``PHOTONS``; see ``Apply``.

    ``draws``: (H, W, 3) uint16 codes, or int64 counts of photons drawn by someone who knew the image.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; with the same counts, equal in every byte. Codes meet each
        probability to 2**-16.
    """
    (noise,) = draws
    photons = at_severity(PHOTONS, severity, parameters)
    if noise.dtype != np.uint16:
        counted: Pixels = _level_of_count(photons).take(np.minimum(noise, photons))
        return counted
    tables = _tables(photons)
    coarse = tables.coarse.take(np.left_shift(image, 8, dtype=np.uint16) | (noise >> 8))
    unsure = np.flatnonzero(coarse == _UNSURE)
    noisy: Pixels = coarse.astype(np.uint8)
    place = np.left_shift(image.take(unsure), 16, dtype=np.intp)
    place |= noise.take(unsure)
    noisy.reshape(-1)[unsure] = tables.fine.take(place)
    return noisy


def _level_of_count(photons: int) -> Pixels:
    """Give the grey level of 0 to ``photons`` photons: (photons + 1,) uint8."""
    level: Pixels = (np.arange(photons + 1) / photons * 255).astype(np.uint8)
    return level


class _Tables(NamedTuple):
    """Grey levels for (level of the image, code) and for (level of the image, code / 256), ``_UNSURE`` if it depends.

    The small table stays in the processor's cache and answers for nine values of ten.
    """

    fine: Pixels
    coarse: NDArray[np.int16]


@lru_cache(maxsize=2)  # 16 MiB each, built in the time of ten images
def _tables(photons: int) -> _Tables:
    counts = np.arange(photons)
    log_factorial = np.array([math.lgamma(count + 1) for count in counts])
    levels = _level_of_count(photons)
    table = np.empty((256, CODES), np.uint8)
    table[0] = 0
    for level in range(1, 256):
        mean = level / 255 * photons
        below = np.cumsum(np.exp(counts * math.log(mean) - mean - log_factorial))
        # Code u means count k where P(count < k) <= (u + 1/2) / CODES < P(count <= k).
        first = np.clip(np.ceil(below * CODES - 0.5), 0, CODES).astype(np.int64)
        table[level] = np.repeat(levels, np.diff(first, prepend=0, append=CODES))
    groups = table.reshape(256, 256, 256)
    lowest, highest = groups[..., 0].astype(np.int16), groups[..., -1]  # a level grows with the code
    return _Tables(fine=table.reshape(-1), coarse=np.where(lowest == highest, lowest, _UNSURE).reshape(-1))
