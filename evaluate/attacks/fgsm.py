"""FGSM: one step along the sign of the gradient."""

from __future__ import annotations

from .climb import Ascent, climb
from .gradient import TransferResult, TransferTask


def fgsm(task: TransferTask, *, eps: int) -> TransferResult:
    """Move every pixel by eps grey levels in the direction that raises the cross-entropy.

    A pixel whose gradient is exactly zero does not move (sign(0) = 0).

    Args:
        task: Images, labels and the source of the gradient.
        eps: Radius in grey levels, 1..255.

    Returns:
        The uint8 adversarials, at most eps levels away, and the share of zero gradients.

    Raises:
        InputError: If eps is not as stated.

    Reference:
        Goodfellow et al. 2015, arXiv 1412.6572, section 4; on the uint8 grid.
    """
    return climb(task, Ascent(eps=eps, steps=1, alpha=eps))
