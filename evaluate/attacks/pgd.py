"""PGD in L-inf: a random start in the ball, then signed gradient steps projected back onto it."""

from __future__ import annotations

import numpy as np

from .gradient import (
    DEFAULT_STEPS,
    Ascent,
    Levels,
    TransferResult,
    TransferTask,
    signs,
    step_numbers,
    step_size,
)


def pgd(
    task: TransferTask,
    *,
    eps: int,
    steps: int = DEFAULT_STEPS,
    alpha: int | None = None,
) -> TransferResult:
    """Raise the cross-entropy by projected gradient ascent in whole grey levels.

    The start moves each value by a whole number of levels, uniform in [-eps, eps], drawn from the image's own stream,
    and clips it to 0..255. A pixel whose gradient is exactly zero does not move in a step (sign(0) = 0).

    Args:
        task: Images, labels and the source of gradients.
        eps: Radius in grey levels, 1..255.
        steps: Number of gradient steps.
        alpha: Step in grey levels; a quarter of eps, at least 1, if None.

    Returns:
        The uint8 adversarials of the last step, at most eps levels away, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Madry et al. 2018, arXiv 1706.06083, section 2.1; on the uint8 grid, so the start is uniform on integers.
    """
    ascent = Ascent(task, eps=eps)
    size = step_size(alpha, eps)
    ascent.move(_starts(task, eps))
    for _ in step_numbers(steps):
        ascent.move(size * signs(ascent.gradient()))
    return ascent.result()


def _starts(task: TransferTask, eps: int) -> Levels:
    starts = np.empty(task.images.shape, dtype=np.int16)
    for start, stream in zip(starts, task.streams(f"pgd:eps={eps}"), strict=True):
        start[...] = stream.integers(-eps, eps, size=start.shape, dtype=np.int16, endpoint=True)
    return starts
