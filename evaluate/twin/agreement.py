"""How far a twin answers like the engine it stands in for; measured before its gradients are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...core.statistics import Interval, wilson


def agreement(twin_scores: NDArray[Any], engine_scores: NDArray[Any]) -> Interval:
    """Give the share of images on which twin and engine give the same answer, with its 95 % Wilson interval.

    The answer is the lowest index among the highest scores, on both sides; so logits may be compared with
    probabilities or with an engine's integer scores.

    Args:
        twin_scores: (N, classes) scores of the twin.
        engine_scores: (N, classes) scores of the engine for the same images.

    Raises:
        InputError: If the shapes differ, or there is no image.
    """
    if twin_scores.shape != engine_scores.shape or twin_scores.ndim != 2 or not len(twin_scores):
        raise InputError(
            f"Expected scores of the same images and classes, got {twin_scores.shape} and {engine_scores.shape}."
        )
    same = int(np.sum(twin_scores.argmax(axis=1) == engine_scores.argmax(axis=1)))
    return wilson(same, len(twin_scores))


GATE = 0.98
"""Least share of equal answers at which a twin may stand in for the engine of the same file.

Reading the file's own scales, twins reach 0.99 and more; one that was calibrated anew, on other images, stays near
0.98, as far from the engine as the float model is.
"""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How a twin compares with the engine of the same file.

    Attributes:
        same: Share of images with the same answer.
        largest_difference: Largest absolute difference of two scores; NaN where the engine puts out no logits.
    """

    same: Interval
    largest_difference: float

    @property
    def refusal(self) -> str:
        """Why this twin's gradients may not stand for the engine; empty where they may."""
        if self.same.value >= GATE:
            return ""
        return (
            f"the twin answers like the engine on {self.same.value:.3f} of {self.same.n} images only, below {GATE}: "
            "its gradients are those of another model"
        )


def agree(twin_scores: NDArray[Any], engine_scores: NDArray[Any], *, logits: bool) -> Agreement:
    """Compare a twin with the engine of the same file on the same images.

    Args:
        twin_scores: (N, classes) logits of the twin.
        engine_scores: (N, classes) raw scores of the engine.
        logits: Whether the engine's scores are logits too, so that differences mean something.

    Raises:
        InputError: If the shapes differ, or there is no image.
    """
    same = agreement(twin_scores, engine_scores)
    difference = np.abs(twin_scores.astype(np.float64) - engine_scores).max() if logits else np.nan
    return Agreement(same=same, largest_difference=float(difference))
