"""The averaging attack: a linear model of the margin fitted to every answer, so that the rounding averages out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .finish import Finish
from .margins import MarginReader
from .protocol import Answer, AttackResult, Image, check_eps_and_budget, check_start

# At most this many unknowns: an image of more values is cut into tiles of one sign per channel.
MOST_UNKNOWNS = 4096
_WARM_UP = 0.2  # of the budget goes into fair coin flips before the search centres on the best guess
_TRIAL = 10  # every tenth query is the best guess itself
_DRIFT = 0.02  # of a residual is put down to the margin's curvature, not to its slope

Signs = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class LinearLinf:
    """Fits margin = bias + weights . signs to all answers, and plays the signs that the fit says are worst.

    Query 1 is the clean image; the next fifth of the budget moves every value by +eps or -eps on fair coins (with
    ``start``: query 2 is the start, and there are no such coins); from then on each query is the best guess with a
    quarter of its signs turned, every tenth one the guess itself. Each answer corrects the fit along its own signs
    (Kaczmarz's step, with the gain that leaves the engine's rounding out).

    An attack that compares two answers fails where they differ by less than the engine rounds. Here nothing is
    compared: each unknown is an average over all answers, and the rounding, which is different for each, leaves the
    average by the square root of their number. On a float engine the rule is the same and the gain is 1.

    Attributes:
        eps: Radius in grey levels, 1..255.
        budget: Most queries per image, the clean check included.

    Raises:
        InputError: If a setting is outside its range.

    Reference:
        Kaczmarz 1937 for the step; random sign designs as in simultaneous perturbation (Spall 1992, IEEE TAC 37(3), eq.
        2.2). The combination, its rounding-aware gain and the stop by the production argmax are this project's.
    """

    eps: int
    budget: int = 1000

    def __post_init__(self) -> None:
        check_eps_and_budget(self.eps, self.budget)

    @property
    def task(self) -> str:
        """What to key the random streams with."""
        return f"linear:eps={self.eps}"

    def begin(self, image: Image, label: int, rng: np.random.Generator, start: Image | None = None) -> LinearState:
        """Give the state that attacks one image; see ``QueryAttack.begin``."""
        return LinearState(self, image, label, rng, start)


class LinearState:
    """The averaging attack on one image; made by ``LinearLinf.begin``."""

    def __init__(
        self, attack: LinearLinf, image: Image, label: int, rng: np.random.Generator, start: Image | None
    ) -> None:
        image, self._start = check_start(image, start)
        self.label = label
        self._attack, self._rng = attack, rng
        self._finish = Finish(image, attack.budget)
        self._reader = MarginReader(label)
        wide = image.astype(np.int16)
        self._low = np.maximum(wide - attack.eps, 0).astype(np.uint8)
        self._high = np.minimum(wide + attack.eps, 255).astype(np.uint8)
        height, width = image.shape[:2]
        self._tile = tile_side(height, width)
        self._cells = -(-height // self._tile), -(-width // self._tile), 3
        self._weights = np.zeros(math.prod(self._cells), dtype=np.float32)
        self._bias = self._spread = 0.0
        self._signs: Signs = np.zeros(0, dtype=np.bool_)

    @property
    def done(self) -> bool:
        """True when the attack has nothing more to ask."""
        return self._finish.done

    def propose(self, canvas: Image) -> None:
        """Write the clean image, then images at the corners of the ball, into ``canvas``."""
        if self._finish.asked:
            self._signs = self._next_signs()
            np.copyto(canvas, self._low)
            np.copyto(canvas, self._high, where=self._spread_out(self._signs))
            if self._finish.asked == 1 and self._start is not None:
                canvas[...] = np.clip(self._start, self._low, self._high)
        else:
            canvas[...] = self._finish.image
        self._finish.asks(canvas)

    def tell(self, answer: Answer) -> None:
        """Correct the fit by what it did not foresee."""
        self._finish.hears(answer)
        margin = self._reader.read(answer)
        if self._finish.asked == 1:
            self._bias = margin
            return
        design = np.where(self._signs, np.float32(1), np.float32(-1))
        # Not BLAS: its sums depend on the number of threads.
        residual = margin - self._bias - float((self._weights * design).sum(dtype=np.float64))
        self._spread += residual * residual
        self._weights += np.float32(self._gain() * residual / design.size) * design
        self._bias += _DRIFT * residual

    def result(self, queries: int, reason: str | None = None) -> AttackResult:
        """Give the outcome; see ``AttackState.result``."""
        return self._finish.result(queries, reason)

    def _gain(self) -> float:
        """Give the share of a residual that is signal: what is left of its variance without the rounding's."""
        spread = self._spread / (self._finish.asked - 1)
        return max(0.0, 1 - self._reader.rounding_variance / spread) if spread else 1.0

    def _next_signs(self) -> Signs:
        asked = self._finish.asked
        if self._start is not None and asked == 1:
            return self._signs_of_start()
        if asked % _TRIAL and self._start is None and asked < _WARM_UP * self._attack.budget:
            return self._coins()
        guess: Signs = self._weights < 0
        return guess if asked % _TRIAL == 0 else guess ^ (self._coins() & self._coins())

    def _coins(self) -> Signs:
        words = self._rng.bit_generator.random_raw(-(-self._weights.size // 64))
        bits = np.unpackbits(np.asarray(words).astype("<u8").view(np.uint8))
        return bits[: self._weights.size].astype(np.bool_)

    def _signs_of_start(self) -> Signs:
        assert self._start is not None
        moved = self._start.astype(np.int16) - self._finish.image
        rows, columns = (np.arange(0, side, self._tile) for side in moved.shape[:2])
        sums = np.add.reduceat(np.add.reduceat(moved.astype(np.int64), rows, axis=0), columns, axis=1)
        signs: Signs = sums.ravel() > 0
        return signs

    def _spread_out(self, signs: Signs) -> Signs:
        cells = signs.reshape(self._cells)
        if self._tile > 1:
            height, width = self._low.shape[:2]
            cells = cells.repeat(self._tile, axis=0)[:height].repeat(self._tile, axis=1)[:, :width]
        return cells


def tile_side(height: int, width: int) -> int:
    """Give the side of the square tiles that leave at most ``MOST_UNKNOWNS`` signs for three channels.

    Example:
        >>> tile_side(32, 32), tile_side(224, 224)
        (1, 7)
    """
    side = 1
    while 3 * -(-height // side) * -(-width // side) > MOST_UNKNOWNS:
        side += 1
    return side
