"""The Square attack in L2, on the uint8 grid: mass is moved between windows, the distance checked in integers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .protocol import Image
from .reach import Step, on_grid
from .square import square_schedule
from .walk import Scene, Search

_P_INIT = 0.1
_GRID = 5
_SMALL = 1e-7


def square_l2(scene: Scene) -> Search:
    """Move the whole L2 budget around in squares, at random.

    The search runs on real steps of length ``eps``; what is asked and delivered is their rounding, pulled in where it
    came out longer, so that its squared distance in whole levels is at most eps squared.

    Reference:
        Andriushchenko, Croce, Flammarion, Hein 2020, arXiv 1912.00049, Algorithm 3 and eq. 2, p-schedule stretched over
        the budget, first p of 0.1 as there. Differences: uint8 queries, equal margins accepted, success by the
        production argmax.
    """
    yield from scene.opening()
    image, eps = scene.image, scene.eps
    sides = square_schedule(scene.budget, image.shape[0], image.shape[1], _P_INIT)
    moves = _Moves(image, eps, scene.rng)
    step = None if scene.start is None else scene.start.astype(np.float32) - image
    best = scaled(moves.tiles() if step is None or not step.any() else step, eps)
    answer = yield on_grid(image, best, eps)
    margin, iteration = answer.margin, 0
    while True:
        attempt = moves.moved(best, max(3, sides[iteration]))
        answer = yield on_grid(image, attempt, eps)
        iteration += 1
        if answer.margin <= margin:
            best, margin = attempt, answer.margin


class _Moves:
    def __init__(self, image: Image, eps: int, rng: np.random.Generator) -> None:
        self._image, self._eps, self._rng = image, eps, rng

    def tiles(self) -> Step:
        """Give the start: a grid of bumps, each with signs of its own per channel."""
        height, width = self._image.shape[:2]
        step = np.zeros(self._image.shape, dtype=np.float32)
        side = max(min(height, width) // _GRID, 1)
        for row in range(0, height - side + 1, side):
            for column in range(0, width - side + 1, side):
                step[row : row + side, column : column + side] = self._bumps(side)
        return step

    def _bumps(self, side: int) -> Step:
        pattern = bump_pair(side)
        if self._rng.random() < 0.5:
            pattern = pattern.T
        signs = np.where(self._rng.random(3) < 0.5, np.float32(-1), np.float32(1))
        return pattern[:, :, None] * signs

    def _window(self, side: int) -> tuple[slice, slice]:
        row, column = (int(self._rng.random() * (length - side + 1)) for length in self._image.shape[:2])
        return slice(row, row + side), slice(column, column + side)

    def moved(self, best: Step, side: int) -> Step:
        """Take the mass of one window, and what length is left, and give it to another."""
        side = min(side, *self._image.shape[:2])
        gains, loses = self._window(side), self._window(side)
        square = best * best
        both = square[gains].sum(axis=(0, 1)) + square[loses].sum(axis=(0, 1)) - _overlap(square, gains, loses)
        left = max(0.0, self._eps**2 - float(square.sum(dtype=np.float64)))
        there = best[gains]
        length = np.sqrt((there * there).sum(axis=(0, 1)))
        new = self._bumps(side) + there / np.maximum(length, np.float32(_SMALL))
        new *= np.sqrt(both + np.float32(left / 3)) / np.maximum(np.sqrt((new * new).sum(axis=(0, 1))), _SMALL)
        attempt = best.copy()
        attempt[loses] = 0
        attempt[gains] = new
        wide = self._image.astype(np.float32)
        return scaled(np.clip(wide + attempt, 0, 255) - wide, self._eps, only_shrink=True)


def _overlap(square: Step, one: tuple[slice, slice], other: tuple[slice, slice]) -> Step:
    shared = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    if any(part.start >= part.stop for part in shared):
        return np.zeros(3, dtype=np.float32)
    total: Step = square[shared].sum(axis=(0, 1))
    return total


def scaled(step: Step, eps: float, *, only_shrink: bool = False) -> Step:
    """Give a step of L2 length ``eps``, or at most that; a step of zero stays zero."""
    length = float(np.sqrt((step.astype(np.float64) ** 2).sum()))
    if length == 0 or (only_shrink and length <= eps):
        return step
    return step * np.float32(eps / length)


@lru_cache(maxsize=256)
def bump_pair(side: int) -> Step:
    """Give a square of two halves, a bump up and a bump down, (side, side) float32 of L2 length 1.

    Each half is a stack of ever larger rectangles around its middle, the k-th one of height 1/k^2.

    Reference:
        Andriushchenko et al. 2020, arXiv 1912.00049, eq. 2 and the figure beside it.
    """
    upper = side // 2
    pattern = np.concatenate([_bump(upper, side), -_bump(side - upper, side)])
    length = np.sqrt((pattern * pattern).sum())
    pair: Step = (pattern / length).astype(np.float32)
    pair.flags.writeable = False
    return pair


def _bump(height: int, width: int) -> NDArray[np.float64]:
    if not height:
        return np.zeros((0, width))
    rows, columns = (np.abs(np.arange(length) - length // 2) for length in (height, width))
    outside = np.maximum(rows[:, None], columns[None, :])
    heights = 1 / np.arange(1, outside.max() + 2, dtype=np.float64) ** 2
    stacked = np.cumsum(heights[::-1])[::-1]
    bump: NDArray[np.float64] = stacked[outside]
    unit: NDArray[np.float64] = bump / np.sqrt((bump * bump).sum())
    return unit
