"""PGN: prefers places where the gradient is small all around, which other nets share."""

from __future__ import annotations

import numpy as np

from .ball import make_ball
from .climb import Ascent, Estimate, climb, normalised
from .gradient import Floats, Images, Probe, TransferResult, TransferTask, at_least
from .vmifgsm import noise

NEIGHBOURS, REACH, BALANCE = 20, 3.0, 0.5


def pgn(task: TransferTask, ascent: Ascent, *, copies: int = NEIGHBOURS) -> TransferResult:
    """Raise the loss and lower its gradient's norm, both averaged over random neighbours.

    Args:
        task: Images, labels and the source of gradients.
        ascent: Radius, steps and momentum.
        copies: Neighbours N drawn in each step; each takes two gradients.

    Returns:
        The uint8 adversarials of the last step, at most eps levels away, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Ge et al. 2023, arXiv 2306.05225, eq. 10 and Algorithm 1, zeta = 3 eps, delta = 0.5, N = 20. The step to the
        second point has the length of a step of the attack with a gradient of mean absolute value 1, as in the
        authors' code.
    """
    at_least("copies", copies, 1)
    ball = make_ball(task.images, eps=ascent.eps, alpha=ascent.alpha)
    estimate = _flattening(task, f"pgn:eps={ascent.eps}", REACH * ascent.eps, ball.size, copies)
    return climb(task, ascent, estimate=estimate)


def _flattening(task: TransferTask, name: str, radius: float, distance: float, copies: int) -> Estimate:
    streams = list(task.streams(name))

    def estimate(probe: Probe, images: Images | Floats, momentum: Floats) -> Floats:
        total = np.zeros(images.shape)
        for _ in range(copies):
            near = images + noise(streams, images.shape, radius)
            here = probe.gradient(near)
            below = probe.gradient(near - distance * normalised(here))
            total += (1 - BALANCE) * here + BALANCE * below
        return total / copies

    return estimate
