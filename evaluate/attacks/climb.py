"""The one loop of all iterated transfer attacks: estimate a gradient, add it to a momentum, step, stay in the ball."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .ball import Norm, make_ball
from .gradient import DEFAULT_STEPS, Floats, Images, Probe, TransferResult, TransferTask, at_least, step_numbers


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """The settings that all iterated attacks share; `climb` refuses those out of range.

    Attributes:
        eps: Radius in grey levels: 1..255 in L-inf, see `make_ball` for the other norms.
        steps: Number of gradient steps, at least 1.
        alpha: Step in grey levels of the norm; None for a quarter of eps and at least 1 in L-inf, else as `make_ball`.
        decay: Weight of the old momentum, >= 0; 0 follows each gradient alone.
    """

    eps: int
    steps: int = DEFAULT_STEPS
    alpha: int | None = None
    decay: float = 1.0


class Estimate(Protocol):
    """How an attack looks for the direction that raises the loss of nets it does not know."""

    def __call__(self, probe: Probe, images: Images | Floats, momentum: Floats) -> Floats:
        """Give a gradient for each image, (N, H, W, 3).

        Args:
            probe: Gives gradients of the surrogate.
            images: The present images, (N, H, W, 3), uint8 or float64 grey levels.
            momentum: The sum of normalised gradients so far, (N, H, W, 3) float64; its scale is that of `normalised`.
        """
        ...


def plain(probe: Probe, images: Images | Floats, momentum: Floats) -> Floats:
    """Give the gradient at the images themselves."""
    return probe.gradient(images)


def climb(
    task: TransferTask,
    ascent: Ascent,
    *,
    norm: Norm = "linf",
    estimate: Estimate = plain,
    random_start: str = "",
) -> TransferResult:
    """Raise the cross-entropy step by step inside a ball.

    A value whose momentum is exactly zero does not move in that step (sign(0) = 0).

    Args:
        task: Images, labels and the source of gradients.
        ascent: Radius, steps and momentum.
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.
        estimate: How the gradient of a step is found.
        random_start: Name of the random stream to draw a start in the ball from; empty starts at the originals.

    Returns:
        The uint8 adversarials of the last step, inside the ball in integers, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Dong et al. 2018, arXiv 1710.06081, eq. 6 and 7; on the uint8 grid, so the L-inf step is a whole number of
        levels and not eps / steps, and the ball is kept by clipping.
    """
    at_least("decay", ascent.decay, 0)
    ball = make_ball(task.images, eps=ascent.eps, norm=norm, alpha=ascent.alpha)
    probe = Probe(task)
    images = ball.start(task, random_start) if random_start else task.images
    momentum = np.zeros(task.images.shape)
    for _ in step_numbers(ascent.steps):
        gradient = estimate(probe, images, momentum)
        momentum = momentum * ascent.decay + normalised(gradient)
        images = ball.step(images, momentum)
    return probe.result(ball.delivered(images))


def normalised(gradients: Floats) -> Floats:
    """Divide each image's gradient by its mean absolute value; a gradient that is zero everywhere stays zero.

    That is the L1 norm of the paper but for a constant, which no sign step sees; the look-ahead of NI-FGSM needs the
    constant, and its authors' code has this one.

    Args:
        gradients: (N, H, W, 3) float32 or float64.

    Returns:
        (N, H, W, 3) float64, mean absolute value 1 per image.
    """
    if not gradients.size:
        return gradients
    means = np.abs(gradients).reshape(len(gradients), -1).mean(axis=1, dtype=np.float64)
    return gradients / np.where(means == 0, 1.0, means).reshape(-1, 1, 1, 1)
