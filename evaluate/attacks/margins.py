"""How a query attack reads an answer: margins in logit scale, and the step of the grid that the scores lie on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .protocol import Answer, Goal

_ANSWERS_LOOKED_AT = 8
_FEWEST_VALUES = 12
_TOLERANCE = 0.02
# No grid finer than this counts: a float engine's scores are "multiples" of their last bit.
_MOST_LEVELS = 4096

Floats = NDArray[np.float32]


class MarginReader:
    """Reads margins from answers and learns the engine's step from the first of them.

    Scores that are never negative are shares (probabilities, or uint8 scores) and are read as logarithms, which undoes
    the softmax: a margin then moves by as much at 0.999 as at 0.5.

    Args:
        goal: What the margin is of.
    """

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._floor = 0.0
        self._seen: list[Floats] = []
        self._shares = False
        self.step = 0.0

    def read(self, answer: Answer) -> float:
        """Give ``Answer.margin`` in logits, finite."""
        if len(self._seen) < _ANSWERS_LOOKED_AT:
            self._look(answer.scores)
        if not self._shares:
            return answer.margin
        if self._goal.target is None:
            falls = float(answer.scores[self._goal.label])
            rises = falls - answer.margin
        else:
            rises = float(answer.scores[self._goal.target])
            falls = rises + answer.margin
        return math.log(max(falls, 0.0) + self._floor) - math.log(max(rises, 0.0) + self._floor)

    @property
    def rounding_variance(self) -> float:
        """Variance that the grid adds to a margin of two rounded scores, each off by up to half a step: step^2 / 6."""
        return self.step * self.step / 6

    def _look(self, scores: Floats) -> None:
        if not self._seen:
            self._shares = bool(scores.min() >= 0)
            top = float(scores.max())
            positive = scores[scores > 0]
            self._floor = min(float(positive.min()), top / 256) / 2 if top > 0 else 1.0
        self._seen.append(scores.copy())
        if not self._shares:
            self.step = grid_step(np.concatenate(self._seen))


def grid_step(scores: Floats) -> float:
    """Give the step of the uniform grid that scores lie on, or 0 if they lie on none.

    The step is the smallest difference between two different scores, if all the others are whole multiples of it.

    Args:
        scores: Finite float32 scores of any number of answers.

    Returns:
        The step, at least the range divided by 4095; 0 below 12 different scores, which prove nothing, and for scores
        that are not rounded: the chance that ten random differences are all within 2 % of multiples is 1e-14.

    Example:
        >>> grid_step(np.float32([0.5, 1, 2, 4, 7, 11, 16, 22, 29, 37, 46, 56]))
        0.5
        >>> grid_step(np.float32(np.sqrt(np.arange(50))))
        0.0
    """
    values = np.unique(scores).astype(np.float64)
    if len(values) < _FEWEST_VALUES:
        return 0.0
    step = float(np.diff(values).min())
    if (values[-1] - values[0]) / step >= _MOST_LEVELS:
        return 0.0
    steps = (values - values[0]) / step
    return step if bool((np.abs(steps - np.rint(steps)) <= _TOLERANCE).all()) else 0.0
