"""The view through frosted glass: blurred, pixels displaced at random, blurred again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .numbers import CODES, draw_codes
from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import smooth_image

Indices = NDArray[np.int32]


class Glass(NamedTuple):
    """Width of both blurs in pixels, reach of the displacement in pixels, number of passes."""

    sigma: float
    reach: int
    passes: int


GLASS: Mapping[ParameterSet, tuple[Glass, ...]] = {
    "imagenet-c": (Glass(0.7, 1, 2), Glass(0.9, 2, 1), Glass(1, 2, 3), Glass(1.1, 3, 2), Glass(1.5, 4, 2)),
    "cifar10-c": (Glass(0.05, 1, 1), Glass(0.25, 1, 1), Glass(0.4, 1, 1), Glass(0.25, 1, 2), Glass(0.4, 1, 2)),
}
"""Severities 1 to 5."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw where each pixel looks: (passes, H - 2 reach, W - 2 reach, 2) int8, right and down, in [-reach, reach)."""
    glass = at_severity(GLASS, severity, parameters)
    codes = draw_codes(rng, displaced_shape(glass, shape))
    # The two displacements of a pixel are one 16-bit entry of the table.
    return (_displacements(glass.reach).view("<u2").take(codes).view(np.int8).reshape(*codes.shape, 2),)


def displaced_shape(glass: Glass, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Give (passes, rows, columns) of the pixels that are displaced; small images have none."""
    return glass.passes, max(shape[0] - 2 * glass.reach, 0), max(shape[1] - 2 * glass.reach, 0)


@lru_cache(maxsize=4)
def _displacements(reach: int) -> NDArray[np.int8]:
    choice = np.arange(CODES) * (2 * reach) ** 2 // CODES
    return np.stack([choice % (2 * reach) - reach, choice // (2 * reach) - reach], axis=1).astype(np.int8)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Blur and truncate, displace, blur and truncate again; see ``Apply``.

    From the bottom right corner to the top left, each pixel is overwritten by the one it looks at. The reference means
    to swap the two, but the pixel looked at keeps its value: what it assigns are views of one array. A pixel that looks
    down or right thus sees what was already overwritten.

    ``draws``: (passes, H - 2 reach, W - 2 reach, 2) integers, displacement right and down of
    pixels ``reach + 1 .. side - reach``, in the order of the image.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; with the same displacements, equal in every byte of photographs.
    """
    (displacements,) = draws
    glass = at_severity(GLASS, severity, parameters)
    blurred = smooth_image(image, glass.sigma)
    if displacements.size:
        blurred = _displaced(blurred, displacements, glass.reach)
    return smooth_image(blurred, glass.sigma)


def _displaced(image: Pixels, displacements: NDArray[Any], reach: int) -> Pixels:
    height, width = image.shape[:2]
    source = np.arange(height * width, dtype=np.int32)
    for one_pass in displacements:
        source = source.take(_sources(one_pass, height, width, reach))
    # Whole pixels of four bytes are moved faster than three bytes each.
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).view(np.uint32)
    moved = pixels.take(source.reshape(height, width)).view(np.uint8)
    displaced: Pixels = cv2.cvtColor(moved.reshape(height, width, 4), cv2.COLOR_RGBA2RGB)
    return displaced


def _sources(displacements: NDArray[Any], height: int, width: int, reach: int) -> Indices:
    """Tell which pixel of the picture before the pass each pixel shows after it: (H * W,) indices.

    A pixel that looks forward, at one already overwritten, shows what that one shows: a chain, followed until it looks
    backward or out of the displaced area. Each step is taken by all unfinished chains at once; few go beyond five.
    """
    ahead = np.zeros((height, width), np.int32)
    inner = ahead[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    np.multiply(displacements[..., 1], width, out=inner, dtype=np.int32)
    inner += displacements[..., 0]
    flat = ahead.reshape(-1)
    source = np.arange(height * width, dtype=np.int32)
    source += flat
    chains = np.flatnonzero(flat > 0)
    place = source.take(chains)
    while chains.size:
        step = flat.take(place)
        place += step
        source[chains] = place
        unfinished = np.flatnonzero(step > 0)
        chains, place = chains.take(unfinished), place.take(unfinished)
    return source
