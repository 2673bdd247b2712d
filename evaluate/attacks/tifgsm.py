"""TI: the gradient is smoothed, which stands for the mean gradient of shifted images."""

from __future__ import annotations

import numpy as np

from .climb import Ascent, Estimate, climb, plain
from .difgsm import diverse
from .gradient import Floats, Images, Probe, TransferResult, TransferTask, at_least

DEFAULT_KERNEL = 7
_DEVIATIONS = 3.0  # the kernel ends three standard deviations from its centre


def tifgsm(
    task: TransferTask,
    ascent: Ascent,
    *,
    kernel: int = DEFAULT_KERNEL,
    diversity: bool = False,
) -> TransferResult:
    """Follow the smoothed gradient with momentum (MI-TI-FGSM, with ``diversity`` MI-DI-TI-FGSM).

    Args:
        task: Images, labels and the source of gradients.
        ascent: Radius, steps and momentum.
        kernel: Taps of the smoothing along each axis; the paper takes 15 at 299 pixels, 7 suits 224, 5 suits 32.
        diversity: Whether each gradient is taken through a random resize and padding, see `difgsm`.

    Returns:
        The uint8 adversarials of the last step, at most eps levels away, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Dong et al. 2019, arXiv 1904.02884, eq. 7 and 10, Gaussian kernel of section 3.3 with its ends at 3 sigma.
    """
    inner = diverse(plain, task, f"ditifgsm:eps={ascent.eps}") if diversity else plain
    return climb(task, ascent, estimate=smoothed(inner, kernel))


def smoothed(inner: Estimate, kernel: int) -> Estimate:
    """Convolve the estimate with a Gaussian, zeros beyond the border (eq. 7).

    Raises:
        InputError: If the kernel has no tap.
    """
    at_least("kernel", kernel, 1)

    def estimate(probe: Probe, images: Images | Floats, momentum: Floats) -> Floats:
        gradient = inner(probe, images, momentum)
        rows, columns = (_smoothing(size, kernel) for size in gradient.shape[1:3])
        # Rows, then columns, image by image: a matrix product over the batch could depend on its size.
        parts = [np.einsum("hi,iwc->hwc", rows, part, optimize=True) for part in gradient]
        return np.stack([columns @ part for part in parts]) if parts else gradient

    return estimate


def _smoothing(size: int, kernel: int) -> Floats:
    """Give the (size, size) matrix that convolves an axis with a Gaussian whose taps sum to 1."""
    taps = np.exp(-(np.linspace(-_DEVIATIONS, _DEVIATIONS, kernel) ** 2) / 2) if kernel > 1 else np.ones(1)
    taps /= taps.sum()
    return np.asarray(sum(tap * np.eye(size, k=shift - (kernel - 1) // 2) for shift, tap in enumerate(taps)))
