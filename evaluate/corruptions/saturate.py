"""Colours too pale or too strong."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import TRUNCATION_GUARD, Floats


class Saturation(NamedTuple):
    """What the saturation of HSV, in [0, 1], is multiplied by, and what is added."""

    factor: float
    offset: float


SATURATION: Mapping[ParameterSet, tuple[Saturation, ...]] = {
    "imagenet-c": (Saturation(0.3, 0), Saturation(0.1, 0), Saturation(2, 0), Saturation(5, 0.1), Saturation(20, 0.2)),
    "cifar10-c": (Saturation(0.3, 0), Saturation(0.1, 0), Saturation(1.5, 0), Saturation(2, 0.1), Saturation(2.5, 0.2)),
}
"""Severities 1 to 5."""


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Change S of HSV; see ``Apply``.

    With hue and value fixed the distance of each channel to the largest one grows with the saturation. Grey has no
    hue; where something is added it turns red, as in the reference.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261. Where the exact result is a whole level their rounding error in
        float64 decides; of the middle channel up to 15 % of the values differ by one level.
    """
    saturation = at_severity(SATURATION, severity, parameters)
    channels = cv2.split(image)
    largest = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
    smallest = cv2.min(cv2.min(channels[0], channels[1]), channels[2])
    tables = _tables(saturation)
    place = np.multiply(largest, 256, dtype=np.intp) + smallest
    lowest, growth = tables.lowest.take(place), tables.growth.take(place)
    value = largest + np.float32(TRUNCATION_GUARD)
    coloured = [(value - (largest - channel) * growth).astype(np.uint8) for channel in channels]
    for number, (channel, other) in enumerate(zip(channels, coloured, strict=True)):
        # The largest channel keeps its value; of grey, that is the first.
        np.copyto(other, lowest, where=(channel == smallest) & ((largest > smallest) | (number > 0)))
    saturated: Pixels = cv2.merge(coloured)
    return saturated


class _Tables(NamedTuple):
    """For (largest channel, smallest channel): the new smallest channel, and new saturation over old; (65536,) each."""

    lowest: Pixels
    growth: Floats


@lru_cache(maxsize=10)  # 320 KiB each
def _tables(saturation: Saturation) -> _Tables:
    largest, smallest = np.mgrid[0:256, 0:256] / 255
    old = np.divide(largest - smallest, largest, out=np.zeros((256, 256)), where=largest > smallest)
    new = np.clip(old * saturation.factor + saturation.offset, 0, 1)
    growth = np.divide(new, old, out=np.zeros((256, 256)), where=old > 0)
    lowest = np.clip(largest * (1 - new) * 255, 0, 255).astype(np.uint8)
    return _Tables(lowest=lowest.reshape(-1), growth=growth.astype(np.float32).reshape(-1))
