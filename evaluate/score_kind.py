"""What an engine's scores are by their looks: logits, probabilities, or probabilities on 256 levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_FLOOR = 1 / 512  # half a level of a uint8 softmax: what a score of zero may have been
_LEVELS = 256


def score_kind(scores: Floats) -> str:
    """Tell what scores are by their looks.

    Probabilities lie in [0, 1] and sum to 1, up to half a level per class where they are rounded to 256 levels; then
    they are ``uint8-scores``. Everything else counts as ``logits``. Rows that are not finite have no say.

    Args:
        scores: (N, C) float32.
    """
    scores = scores[np.isfinite(scores).all(axis=1)]
    if not len(scores):
        return "logits"
    sums = scores.sum(axis=1)
    if scores.min() < 0 or scores.max() > 1.001 or abs(float(np.median(sums)) - 1) > 0.5:
        return "logits"
    levels = scores * _LEVELS
    return "uint8-scores" if np.array_equal(levels, np.rint(levels)) else "probabilities"


def log_probabilities(scores: Floats) -> NDArray[np.float64]:
    """Give the natural logarithm of every class's probability, whatever kind the scores are.

    Half a level of a uint8 softmax is added to each probability, so that a single confident mistake does not decide.

    Args:
        scores: (N, C) float32.

    Returns:
        (N, C) float64.
    """
    wide = np.nan_to_num(scores.astype(np.float64), nan=0.0, posinf=1e30, neginf=-1e30)
    if score_kind(scores) != "logits":
        logs: NDArray[np.float64] = np.log(wide + _FLOOR)
        return logs
    shifted = wide - wide.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    shares = powers / powers.sum(axis=1, keepdims=True)
    logs = np.log(shares + _FLOOR)
    return logs


def looks(scores: Floats) -> str:
    """Say in words what `score_kind` judged by: the values, the rows' sums, and whether there are 256 levels.

    Args:
        scores: (N, C) float32.
    """
    sums = scores.sum(axis=1)
    grid = ", all on 256 levels" if np.array_equal(scores * _LEVELS, np.rint(scores * _LEVELS)) else ""
    return f"values {scores.min():.3g}..{scores.max():.3g}, rows sum to {sums.min():.3g}..{sums.max():.3g}{grid}"
