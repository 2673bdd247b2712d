"""RayS on the uint8 grid: a search over directions of signs that needs the label alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .protocol import Image
from .walk import Scene, Search

Signs = NDArray[np.int16]
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
        self._image = image.astype(np.int16)
        self._thresholds = rng.random(image.shape, dtype=np.float32)

    def at(self, signs: Signs, radius: float) -> Image:
        """Give the (H, W, 3) uint8 image at ``radius`` levels, its L-inf distance at most the radius rounded up."""
        steps = np.floor(self._thresholds + np.float32(radius)).astype(np.int16)
        moved: Image = np.clip(self._image + signs * steps, 0, 255).astype(np.uint8)
        return moved


def first_signs(image: Image, start: Image | None) -> Signs:
    """Give the signs of the step from image to start, +1 where there is none, (H, W, 3) int16."""
    if start is None:
        return np.ones(image.shape, dtype=np.int16)
    return np.where(start < image, -1, 1).astype(np.int16)


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
    flat = signs.transpose(2, 0, 1).copy()
    flat.reshape(-1)[block] *= -1
    return np.ascontiguousarray(flat.transpose(1, 2, 0))
