"""MI-FGSM: steps along a decaying sum of normalised gradients."""

from __future__ import annotations

from .ball import Norm, make_ball
from .climb import climb
from .gradient import DEFAULT_STEPS, TransferResult, TransferTask


def mifgsm(
    task: TransferTask,
    *,
    eps: int,
    steps: int = DEFAULT_STEPS,
    alpha: int | None = None,
    decay: float = 1.0,
    norm: Norm = "linf",
) -> TransferResult:
    """Raise the cross-entropy along a momentum that outlives the surrogate's local wiggles.

    Args:
        task: Images, labels and the source of gradients.
        eps: Radius in grey levels of the norm, see `make_ball`.
        steps: Number of gradient steps.
        alpha: Step in grey levels of the norm; None as in `make_ball`.
        decay: Weight of the old momentum, >= 0; 0 gives the iterative FGSM.
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.

    Returns:
        The uint8 adversarials of the last step, inside the ball in integers, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Dong et al. 2018, arXiv 1710.06081, eq. 6 and 7; see `climb` for what the uint8 grid changes.
    """
    ball = make_ball(task.images, eps=eps, norm=norm, alpha=alpha)
    return climb(task, ball, steps=steps, decay=decay)
