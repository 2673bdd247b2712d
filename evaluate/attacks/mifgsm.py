"""MI-FGSM: signed steps along a decaying sum of normalised gradients."""

from __future__ import annotations

import math

import numpy as np

from ...core.errors import InputError
from .gradient import (
    DEFAULT_STEPS,
    Ascent,
    Floats,
    TransferResult,
    TransferTask,
    signs,
    step_numbers,
    step_size,
)


def mifgsm(
    task: TransferTask,
    *,
    eps: int,
    steps: int = DEFAULT_STEPS,
    alpha: int | None = None,
    decay: float = 1.0,
) -> TransferResult:
    """Raise the cross-entropy along a momentum that outlives the surrogate's local wiggles.

    A pixel whose momentum is exactly zero does not move in that step (sign(0) = 0).

    Args:
        task: Images, labels and the source of gradients.
        eps: Radius in grey levels, 1..255.
        steps: Number of gradient steps.
        alpha: Step in grey levels; a quarter of eps, at least 1, if None.
        decay: Weight of the old momentum, >= 0; 0 gives the iterative FGSM.

    Returns:
        The uint8 adversarials of the last step, at most eps levels away, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Dong et al. 2018, arXiv 1710.06081, eq. 6 and 7; on the uint8 grid, so alpha is a whole number of levels and not
        eps / steps, and the ball is kept by clipping.
    """
    if not (decay >= 0 and math.isfinite(decay)):
        raise InputError(f"Expected `decay` of at least 0, got {decay}. Use 1.0.")
    ascent = Ascent(task, eps=eps)
    size = step_size(alpha, eps)
    momentum = np.zeros(task.images.shape, dtype=np.float32)
    for _ in step_numbers(steps):
        momentum *= np.float32(decay)
        momentum += normalised(ascent.gradient())
        ascent.move(size * signs(momentum))
    return ascent.result()


def normalised(gradients: Floats) -> Floats:
    """Divide each image's gradient by its L1 norm; a gradient that is zero everywhere stays zero.

    Args:
        gradients: (N, H, W, 3) float32.

    Returns:
        (N, H, W, 3) float32, absolute values summing to 1 per image.
    """
    norms = np.abs(gradients).reshape(len(gradients), -1).sum(axis=1, dtype=np.float64) if gradients.size else 1.0
    safe = np.where(norms == 0, 1.0, norms).astype(np.float32)
    return gradients / safe.reshape(-1, 1, 1, 1)
