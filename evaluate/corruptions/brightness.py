"""A lamp switched on: more of the colour's value, hue and saturation kept."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import cv2
import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity

AMOUNT: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (0.1, 0.2, 0.3, 0.4, 0.5),
    "cifar10-c": (0.05, 0.1, 0.15, 0.2, 0.3),
}
"""What is added to V of HSV, in [0, 1], severities 1 to 5."""


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Raise V of HSV; see ``Apply``.

    With hue and saturation fixed each channel grows with the largest one: ``x' = x V' / V``, so a table over (largest
    channel, channel) replaces the way to HSV and back.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261, who convert in float64. The largest and the smallest channel of a
        pixel are equal to theirs; the middle one differs by one level where the exact result is a whole level and their
        rounding error falls below it.
    """
    table = _table(at_severity(AMOUNT, severity, parameters))
    channels = cv2.split(image)
    largest = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
    row = np.multiply(largest, 256, dtype=np.intp)
    brighter: Pixels = cv2.merge([table.take(row + channel) for channel in channels])
    return brighter


@cache  # ten tables of 64 KiB, one per published amount; building one takes as long as using it
def _table(amount: float) -> Pixels:
    """Tabulate the new channel for (largest channel, channel), in the reference's order of operations."""
    levels = np.arange(256) / 255
    value, channel = levels[:, None], levels[None, :]
    # No channel exceeds the largest: those entries are never read, and black has no saturation.
    saturation = np.divide(value - channel, value, out=np.zeros((256, 256)), where=value > channel)
    brighter = np.minimum(value + amount, 1)
    table: Pixels = (brighter * (1 - saturation) * 255).astype(np.uint8)
    table.setflags(write=False)
    return table
