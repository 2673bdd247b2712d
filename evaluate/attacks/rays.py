"""RayS on the uint8 grid: a search over directions of signs that needs the label alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .protocol import Image, check_eps_and_budget, check_start
from .walk import Search, Walk, in_linf_ball

Signs = NDArray[np.int16]
_WIDEST = 255.0
# Radii closer than this are one: an eighth of a grey level, which dithering makes a different image.
_TOLERANCE = 0.125


@dataclass(frozen=True, kw_only=True)
class RaySLinf:
    """Finds the direction of signs along which the engine's label changes soonest.

    A direction is tried at the best radius so far; where the label changes there too, the radius is found by
    bisection. Directions differ in one block of the image, halved from pass to pass.

    Attributes:
        eps: Radius in grey levels, 1..255, at which the attack has won.
        budget: Most queries per image, the clean check included.

    Raises:
        InputError: If a setting is outside its range.

    Reference:
        Chen, Gu 2020, arXiv 2006.12792, Algorithms 2 and 3. Differences: a radius of r levels and a fraction is made on
        the uint8 grid by moving that fraction of the values, drawn once per image, by r + 1 and the others by r; the
        bisection ends at an eighth of a level; it starts at 255 levels, beyond which nothing changes.
    """

    eps: int
    budget: int = 1000

    def __post_init__(self) -> None:
        check_eps_and_budget(self.eps, self.budget)

    @property
    def task(self) -> str:
        """What to key the random streams with."""
        return f"rays:eps={self.eps}"

    def begin(self, image: Image, label: int, rng: np.random.Generator, start: Image | None = None) -> Walk:
        """Give the state that attacks one image; see ``QueryAttack.begin``."""
        image, start = check_start(image, start)
        if start is not None:
            wide = image.astype(np.int16)
            start = np.clip(start, wide - self.eps, wide + self.eps).astype(np.uint8)
        return Walk(
            image,
            label,
            budget=self.budget,
            inside=in_linf_ball(image, self.eps),
            search=_search(image, rng, start),
            start=start,
        )


def _search(image: Image, rng: np.random.Generator, start: Image | None) -> Search:
    ray = Ray(image, rng)
    best = first_signs(image, start)
    radius = float("inf")
    attempt = best
    for block in blocks(best.size):
        answer = yield ray.at(attempt, min(radius, _WIDEST))
        if answer.wrong:
            low, radius, best = 0.0, min(radius, _WIDEST), attempt
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
