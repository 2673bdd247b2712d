"""MI-FGSM: steps along a decaying sum of normalised gradients."""

from __future__ import annotations

from .ball import Norm
from .climb import Ascent, climb
from .gradient import TransferResult, TransferTask


def mifgsm(task: TransferTask, ascent: Ascent, *, norm: Norm = "linf") -> TransferResult:
    """Raise the cross-entropy along a momentum that outlives the surrogate's local wiggles.

    Args:
        task: Images, labels and the source of gradients.
        ascent: Radius, steps and momentum; decay 0 gives the iterative FGSM.
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.

    Returns:
        The uint8 adversarials of the last step, inside the ball in integers, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Dong et al. 2018, arXiv 1710.06081, eq. 6 and 7; see `climb` for what the uint8 grid changes.
    """
    return climb(task, ascent, norm=norm)
