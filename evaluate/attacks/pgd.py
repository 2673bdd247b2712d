"""PGD: a random start in the ball, then gradient steps projected back onto it."""

from __future__ import annotations

from .ball import Norm
from .climb import Ascent, climb
from .gradient import DEFAULT_STEPS, TransferResult, TransferTask


def pgd(
    task: TransferTask,
    *,
    eps: int,
    steps: int = DEFAULT_STEPS,
    alpha: int | None = None,
    norm: Norm = "linf",
) -> TransferResult:
    """Raise the cross-entropy by projected gradient ascent on the uint8 grid.

    The start is uniform in the ball, drawn from the image's own stream (on the integers of [-eps, eps] in L-inf). A
    pixel whose gradient is exactly zero does not move in a step (sign(0) = 0).

    Args:
        task: Images, labels and the source of gradients.
        eps: Radius in grey levels of the norm, see `make_ball`.
        steps: Number of gradient steps.
        alpha: Step in grey levels of the norm; None as in `make_ball`.
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.

    Returns:
        The uint8 adversarials of the last step, inside the ball in integers, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Madry et al. 2018, arXiv 1706.06083, section 2.1. In L1 and L2 the step is the normalised gradient and a point
        outside is scaled back, as in the toolboxes RobustMQ (Xiao et al. 2023, arXiv 2308.02350) runs.
    """
    prefix = "" if norm == "linf" else f"norm={norm},"
    ascent = Ascent(eps=eps, steps=steps, alpha=alpha, decay=0.0)
    return climb(task, ascent, norm=norm, random_start=f"pgd:{prefix}eps={eps}")
