"""RayS on the uint8 grid: a search over directions of signs that needs the label alone."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from .protocol import Image
from .reach import FALLS, RISES, Signs, chosen, signs_of
from .walk import Scene, Search

WIDEST = 255.0
# Radii closer than this are one: an eighth of a grey level, which dithering makes a different image.
_TOLERANCE = 0.125


def rays(scene: Scene) -> Search:
    """Find the direction of signs along which the engine's label changes soonest.

    A direction is tried at the best radius so far; where the label changes there too, the radius is found by
    bisection. Directions differ in one block of the image, halved from pass to pass.

    Reference:
        Chen, Gu 2020, arXiv 2006.12792, Algorithms 2 and 3. Differences: a radius of r levels and a fraction is made on
        the uint8 grid by moving that fraction of the values, drawn once per image, by r + 1 and the others by r; the
        bisection ends at an eighth of a level; it starts at 255 levels, beyond which nothing changes.
    """
    yield from scene.opening()
    ray = Ray(scene.image, scene.rng)
    best = first_signs(scene.image, scene.start)
    radius = float("inf")
    attempt = best
    for block in blocks(best.size):
        answer = yield ray.at(attempt, min(radius, WIDEST))
        if answer.wrong:
            low, radius, best = 0.0, min(radius, WIDEST), attempt
            while radius - low > _TOLERANCE:
                middle = (low + radius) / 2
                answer = yield ray.at(best, middle)
                low, radius = (low, middle) if answer.wrong else (middle, radius)
        attempt = turned(best, block)


class Ray:
    """Images along directions of signs, at real radii on the uint8 grid.

    Args:
        image: (H, W, 3) uint8, where all rays begin.
        rng: Draws which values round up.
    """

    def __init__(self, image: Image, rng: np.random.Generator) -> None:
        self._image = image
        self._thresholds = rng.random(image.shape, dtype=np.float32)

    def at(self, signs: Signs, radius: float) -> Image:
        """Give the (H, W, 3) uint8 image at ``radius`` levels, its L-inf distance at most the radius rounded up."""
        levels = self._thresholds + np.float32(radius)
        if radius > WIDEST - 1:  # a byte ends at 255
            levels = np.minimum(levels, np.float32(WIDEST), out=levels)
        steps = levels.astype(np.uint8)
        # OpenCV's sums of uint8 stop at 0 and 255.
        return chosen(signs, cv2.subtract(self._image, steps), cv2.add(self._image, steps))


def first_signs(image: Image, start: Image | None) -> Signs:
    """Give the signs of the step from image to start, (H, W, 3); values rise where there is none."""
    if start is None:
        return np.full(image.shape, RISES, dtype=np.uint8)
    return signs_of(start >= image)


def blocks(size: int) -> Iterator[slice]:
    """Give halves, quarters and so on of 0..size-1 down to single values, again and again."""
    while True:
        parts = 1
        while parts < 2 * size:
            length = -(-size // parts)
            yield from (slice(first, first + length) for first in range(0, size, length))
            parts *= 2


def turned(signs: Signs, block: slice) -> Signs:
    """Give the signs with a block of them turned; blocks run channel by channel, row by row, as in the paper."""
    found = signs.copy()
    pixels = found.reshape(-1, signs.shape[2])
    for channel in range(signs.shape[2]):
        before = channel * len(pixels)
        pixels[max(block.start - before, 0) : max(block.stop - before, 0), channel] ^= RISES ^ FALLS
    return found
