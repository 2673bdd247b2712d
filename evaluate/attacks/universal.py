"""Universal perturbation: one change for all images, learned on other images than those attacked."""

from __future__ import annotations

import numpy as np

from .gradient import MAX_LEVEL, Floats, Images, TransferResult, TransferTask, whole_levels
from .learn import Box, Craft, Lesson, Worn, learn
from .protocol import linf_levels

_FIRST_STEP = 0.4  # of eps


def universal(lesson: Lesson, *, eps: int, steps: int) -> Craft:
    """Learn one perturbation that raises the loss of all images, and give what adds it to any image.

    What is added is whole grey levels, then clipped to 0..255, so no image moves further than eps.

    Args:
        lesson: Images to learn from, and the source of gradients.
        eps: L-inf radius in grey levels, 1..255.
        steps: Number of mini-batches.

    Returns:
        What makes the adversarial images of a task; the share of zero gradients is that of learning, for every image.

    Raises:
        InputError: If a setting is outside its range.

    Reference:
        Shafahi et al. 2020, arXiv 1811.11304, Algorithm 1 in L-inf, from zero, with sign steps, the first of
        0.4 eps; the gradient is that of the image clipped to 0..255. The aim is Moosavi-Dezfooli et al. 2017, arXiv
        1610.08401, eq. 1: another answer than without it, for most images.
    """
    whole_levels("eps", eps)
    start = np.zeros(lesson.images.shape[1:])
    box = Box(low=-eps, high=eps, step=_FIRST_STEP * eps)
    found = learn(lesson, start, _added, box, steps=steps, task=f"universal:eps={eps}")
    perturbation = np.rint(found.values).astype(np.int16)

    def craft(task: TransferTask) -> TransferResult:
        moved: Images = np.clip(task.images.astype(np.int16) + perturbation, 0, MAX_LEVEL).astype(np.uint8)
        assert linf_levels(moved, task.images) <= eps
        return TransferResult(adversarials=moved, zero_gradient_shares=np.full(len(moved), found.zero_gradient_share))

    return craft


def _added(pattern: Floats, images: Images, rng: np.random.Generator) -> Worn:
    moved = images + pattern
    inside = (moved >= 0) & (moved <= MAX_LEVEL)

    def pull(gradients: Floats) -> Floats:
        total: Floats = (gradients * inside).sum(axis=0, dtype=np.float64)
        return total

    return Worn(np.clip(moved, 0, MAX_LEVEL), pull)
