"""The averaging attack: a linear model of the margin fitted to every answer, so that the rounding averages out."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from .margins import MarginReader
from .protocol import Answer, Image
from .reach import bounds, chosen, signs_of
from .walk import Scene, Search

# At most this many unknowns: an image of more pixels is cut into tiles of one sign.
MOST_UNKNOWNS = 4096
_WARM_UP = 0.2  # of the budget goes into fair coin flips before the search centres on the best guess
_TRIAL = 10  # every tenth query is the best guess itself
_DRIFT = 0.02  # of a residual is put down to the margin's curvature, not to its slope

Signs = NDArray[np.bool_]


def linear(scene: Scene) -> Search:
    """Fit margin = bias + weights . signs to all answers, and play the signs that the fit says are worst.

    Every value moves by +eps or -eps. The sign of a tile of pixels says whether they move as at first (+) or the other
    way; at first all move by +eps, or with ``start`` the way the start does. A tile's three channels have one sign
    until there were as many answers as tiles, then one each: a network's slopes along them are much alike, so that one
    sign reaches 0.86 to 0.9 of what three do (ResNet20, MobileNetV2), with a third of the unknowns, each of which shows
    1.4 to 1.5 times as clearly.

    Query 1 is the clean image; the next fifth of the budget gives each tile a fair coin (with ``start``: query 2 is
    the start, and there are no such coins); from then on each query is the best guess with a quarter of its signs
    turned, every tenth one the guess itself. Each answer corrects the fit along its own signs (Kaczmarz's step, with
    the gain that leaves the engine's rounding out).

    An attack that compares two answers fails where they differ by less than the engine rounds. Here nothing is
    compared: each unknown is an average over all answers, and the rounding, which is different for each, leaves the
    average by the square root of their number. On a float engine the rule is the same and the gain is 1.

    Reference:
        Kaczmarz 1937 for the step; random sign designs as in simultaneous perturbation (Spall 1992, IEEE TAC 37(3), eq.
        2.2). The combination, its rounding-aware gain and the stop by the production argmax are this project's.
    """
    clean, started = yield from scene.opening()
    tiles = _Tiles(scene)
    fit = _Fit(MarginReader(scene.goal), clean, tiles.count)
    if started is not None:
        fit.correct(np.ones(tiles.count, dtype=np.bool_), started)
    coins_until = _WARM_UP * scene.budget if started is None else 0
    while True:
        trial = (fit.told + 1) % _TRIAL == 0
        if trial:
            signs = fit.guess
        elif fit.told + 1 < coins_until:
            signs = _coins(scene.rng, fit.unknowns)
        else:
            signs = fit.guess ^ (_coins(scene.rng, fit.unknowns) & _coins(scene.rng, fit.unknowns))
        answer = yield tiles.moved(signs)
        fit.correct(signs, answer)
        if fit.told == tiles.count:
            fit.split(3)


class _Fit:
    """The linear model of the margin, after ``told`` answers besides the clean one."""

    def __init__(self, reader: MarginReader, clean: Answer, unknowns: int) -> None:
        self.told = 0
        self._reader = reader
        self._weights = np.zeros(unknowns, dtype=np.float32)
        self._bias, self._spread = reader.read(clean), 0.0

    @property
    def unknowns(self) -> int:
        """The number of weights."""
        return self._weights.size

    @property
    def guess(self) -> Signs:
        """The signs that lower the margin, (unknowns,) bool."""
        return self._weights < 0

    def correct(self, signs: Signs, answer: Answer) -> None:
        """Correct the fit by what it did not foresee."""
        self.told += 1
        margin = self._reader.read(answer)
        design = np.where(signs, np.float32(1), np.float32(-1))
        # Not BLAS: its sums depend on the number of threads.
        residual = margin - self._bias - float((self._weights * design).sum(dtype=np.float64))
        self._spread += residual * residual
        self._weights += np.float32(self._gain() * residual / design.size) * design
        self._bias += _DRIFT * residual

    def split(self, parts: int) -> None:
        """Give each part of what had one weight an equal share of it."""
        self._weights = (self._weights / np.float32(parts)).repeat(parts)

    def _gain(self) -> float:
        """Give the share of a residual that is signal: what is left of its variance without the rounding's."""
        spread = self._spread / self.told
        return max(0.0, 1 - self._reader.rounding_variance / spread) if spread else 1.0


class _Tiles:
    """Cuts an image into square tiles, ``count`` in all, that move as at first (True) or the other way."""

    def __init__(self, scene: Scene) -> None:
        self._height, self._width = scene.image.shape[:2]
        self._side = tile_side(self._height, self._width)
        self._cells = -(-self._height // self._side), -(-self._width // self._side)
        self.count = math.prod(self._cells)
        self._low, self._high = bounds(scene.image, scene.eps)
        self._against = ~signs_of(_first_rises(scene))

    def moved(self, signs: Signs) -> Image:
        """Give the image whose tiles move by their signs, one for each tile or three."""
        cells = signs_of(signs.reshape(*self._cells, -1))
        channels = [self._pixels(cell) ^ self._against for cell in cv2.split(cells)]
        return chosen(cv2.merge(channels * (3 // len(channels))), self._low, self._high)

    def _pixels(self, cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rows, columns = self._cells
        size = columns * self._side, rows * self._side
        pixels: NDArray[np.uint8] = cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)
        return pixels[: self._height, : self._width]


def _first_rises(scene: Scene) -> Signs:
    """Tell which pixels move up at first, (H, W): all, or with a start those most of whose change there goes up."""
    if scene.start is None:
        return np.ones(scene.image.shape[:2], dtype=np.bool_)
    changes = scene.start.astype(np.int16) - scene.image
    rises: Signs = changes.sum(axis=2) > 0
    return rises


def _coins(rng: np.random.Generator, count: int) -> Signs:
    words = rng.bit_generator.random_raw(-(-count // 64))
    bits = np.unpackbits(np.asarray(words).astype("<u8").view(np.uint8))
    return bits[:count].astype(np.bool_)


def tile_side(height: int, width: int) -> int:
    """Give the side of the square tiles of which an image has at most ``MOST_UNKNOWNS``.

    Example:
        >>> tile_side(32, 32), tile_side(224, 224)
        (1, 4)
    """
    side = 1
    while -(-height // side) * -(-width // side) > MOST_UNKNOWNS:
        side += 1
    return side
