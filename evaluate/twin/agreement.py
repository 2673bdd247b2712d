"""How far a twin answers like the engine it stands in for; measured before its gradients are used."""

from __future__ import annotations

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
