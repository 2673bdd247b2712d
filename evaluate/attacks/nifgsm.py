"""NI-FGSM and SI: look ahead along the momentum, and look at darker copies."""

from __future__ import annotations

import numpy as np

from .ball import make_ball
from .climb import Ascent, Estimate, climb, plain
from .gradient import Floats, Images, Probe, TransferResult, TransferTask, at_least


def nifgsm(task: TransferTask, ascent: Ascent, *, copies: int = 1) -> TransferResult:
    """Take the gradient where the momentum leads (NI), averaged over copies of halved brightness (SI).

    Args:
        task: Images, labels and the source of gradients.
        ascent: Radius, steps and momentum.
        copies: Number m of scale copies, the image itself included; 1 is NI-FGSM, more is SI-NI-FGSM.

    Returns:
        The uint8 adversarials of the last step, at most eps levels away, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Lin et al. 2020, arXiv 1908.06281, eq. 6 to 8 (NI) and Algorithm 1 (SI-NI). The momentum has mean absolute value
        1 per gradient, as in the authors' code: with the L1 norm of the paper's text nothing would be looked ahead.
    """
    ball = make_ball(task.images, eps=ascent.eps, alpha=ascent.alpha)
    estimate = looking_ahead(scaled(plain, copies), ball.size * ascent.decay)
    return climb(task, ascent, estimate=estimate)


def looking_ahead(inner: Estimate, distance: float) -> Estimate:
    """Estimate at ``images + distance * momentum``, not clipped to 0..255 (eq. 6)."""

    def estimate(probe: Probe, images: Images | Floats, momentum: Floats) -> Floats:
        return inner(probe, images + distance * momentum, momentum)

    return estimate


def scaled(inner: Estimate, copies: int) -> Estimate:
    """Average the gradient of the loss at ``images / 2**i`` over i = 0 .. copies - 1 (Algorithm 1, step 6).

    The derivative is with respect to the images, so copy i counts with weight ``2**-i``.

    Raises:
        InputError: If there is no copy.
    """
    at_least("copies", copies, 1)
    if copies == 1:
        return inner

    def estimate(probe: Probe, images: Images | Floats, momentum: Floats) -> Floats:
        shares = [0.5**copy for copy in range(copies)]
        parts = (share * inner(probe, images * share, momentum) for share in shares)
        total: Floats = sum(parts, start=np.zeros(images.shape))
        return total / copies

    return estimate
