"""The view through moving water: bent and lit by its ripples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import gaussian_kernel

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (2.35, 3.2, 4.9, 6.6, 9.15),
    "cifar10-c": (1.8, 2.6, 3.4, 4.2, 5),
}
"""The authors' level, 0 to 10, severities 1 to 5."""

LENS, LIGHT = 0.5, 2.0
"""At level 10: largest displacement as a share of the longer side, and how much brighter a slope of 1 is."""

_REFRACTION = 4.0
_WAVES = 5
_FLAT = 1 - 1e-3
_FINENESS = 0.005
_DECIMALS = 3
_FRAME = 2

Floats = NDArray[np.float64]


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw (2,): the time of the waves, and the side in pixels after which they repeat, 0.75 to 1.25 longer sides."""
    longer = max(shape[:2])
    return (rng.uniform((0.5, 0.75 * longer), (2, 1.25 * longer)),)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Take each pixel from where the slope of the water sends its ray, black outside, and light it; see ``Apply``.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273; with the same draws, equal in every byte.
    """
    ((time, period),) = draws
    level = at_severity(LEVEL, severity, parameters)
    height, width = image.shape[:2]
    kernel = gaussian_kernel(1, truncate=4)
    water = cv2.sepFilter2D(
        _caustics(height, width, float(time), float(period)), cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT
    )
    water = cv2.copyMakeBorder(water, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    down, right = water[2:, 1:-1] - water[:-2, 1:-1], water[1:-1, 2:] - water[1:-1, :-2]
    bend = _bend(down, right) * (level * LENS * max(height, width) / 10)
    places = _places(np.round(down * bend, _DECIMALS), np.round(right * bend, _DECIMALS))
    light = (down - right) * (level * LIGHT / 10)
    lit: Pixels = cv2.merge([_lit(channel, places, light) for channel in cv2.split(image)])
    return lit


def _caustics(height: int, width: int, time: float, period: float) -> Floats:
    """Give how bright the light is that waves throw on the ground: (H, W) float64 in [0, 1]."""
    start = [(np.arange(side) / period % 1) * 6.28318530718 - 250 for side in (height, width)]
    y, x = start[0][:, None], start[1][None]
    place_y, place_x = y, x
    brightness: Floats = np.ones((height, width))
    for wave in range(_WAVES):
        moment = time * (1 - 3.5 / (wave + 1))
        place_y, place_x = (
            y + (np.cos(moment - place_y) + np.sin(moment + place_x)),
            x + (np.sin(moment - place_x) + np.cos(moment + place_y)),
        )
        down, right = np.sin(place_y + moment) / _FINENESS, np.cos(place_x + moment) / _FINENESS
        brightness += 1 / np.sqrt((y / down) ** 2 + (x / right) ** 2)
    brightness /= _WAVES
    squared = (1.17 - brightness**1.4) ** 2
    caustics: Floats = np.minimum((squared**2) ** 2, 1)
    return caustics


def _bend(down: Floats, right: Floats) -> Floats:
    """Give what the slopes are to be multiplied by for the way a vertical ray is bent, by Snell's law.

    With s the sine of the angle between the ray and the surface's normal n, of length 1, the bent ray goes sideways by
    ``n (sqrt(1 - s^2 / 16) - cos / 4)``. Nearly flat water bends nothing.
    """
    upright = 1 / np.sqrt(down**2 + right**2 + 1)
    squared_sine = 1 - upright**2
    bend = upright * (np.sqrt(1 - squared_sine / _REFRACTION**2) - upright / _REFRACTION)
    return np.where(upright >= _FLAT, 0, bend)


class _Places(NamedTuple):
    """Where each pixel looks, in a picture with a frame of two pixels: the upper left of four, and the way from there.

    Attributes:
        corner: (H, W) index into the framed picture.
        below: (H, W) float64 in [0, 1).
        beside: The same to the right.
    """

    corner: NDArray[np.intp]
    below: Floats
    beside: Floats


def _places(down: Floats, right: Floats) -> _Places:
    height, width = down.shape
    y, x = np.arange(height)[:, None] + down, np.arange(width) + right
    top, left = np.floor(y), np.floor(x)
    # Farther outside than the frame is wide, what is read is black all the same.
    row, column = np.clip(top, -_FRAME, height) + _FRAME, np.clip(left, -_FRAME, width) + _FRAME
    corner = (row * (width + 2 * _FRAME) + column).astype(np.intp)
    return _Places(corner=corner, below=y - top, beside=x - left)


def _lit(channel: Pixels, places: _Places, light: Floats) -> Pixels:
    """Read a channel (H, W), linearly between pixels and black outside, and light it."""
    framed = np.pad(channel, _FRAME).astype(np.float32) / 255
    upper, lower = (
        framed.take(corner) * (1 - places.beside) + framed.take(corner + 1) * places.beside
        for corner in (places.corner, places.corner + framed.shape[1])
    )
    bent = upper * (1 - places.below) + lower * places.below + light
    levels: Pixels = (np.clip(bent, 0, 1) * 255).astype(np.uint8)
    return levels
