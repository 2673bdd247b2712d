"""VMI-FGSM: the gradient is corrected by its variance around the last images."""

from __future__ import annotations

import numpy as np

from .climb import Ascent, climb
from .gradient import Floats, Images, Probe, TransferResult, TransferTask, at_least

NEIGHBOURS, REACH = 20, 1.5


def vmifgsm(task: TransferTask, ascent: Ascent, *, copies: int = NEIGHBOURS, reach: float = REACH) -> TransferResult:
    """Tune each gradient by how far its neighbours' gradients differed in the step before.

    Args:
        task: Images, labels and the source of gradients.
        ascent: Radius, steps and momentum.
        copies: Neighbours N drawn in each step.
        reach: Largest distance of a neighbour's value, beta, as a multiple of eps.

    Returns:
        The uint8 adversarials of the last step, at most eps levels away, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated.

    Reference:
        Wang & He 2021, arXiv 2103.15571, eq. 6 and Algorithm 1. The variance of the last step, which nothing reads, is
        not computed.
    """
    at_least("copies", copies, 1)
    at_least("reach", reach, 0)
    tuned = _Tuned(task, f"vmifgsm:eps={ascent.eps}", reach * ascent.eps, copies)
    return climb(task, ascent, estimate=tuned)


class _Tuned:
    """The gradient plus the variance around the images of the step before; zero in the first step."""

    def __init__(self, task: TransferTask, name: str, radius: float, copies: int) -> None:
        self._streams = list(task.streams(name))
        self._radius, self._copies = radius, copies
        self._before: tuple[Floats, Floats] | None = None  # images and gradient of the step before

    def __call__(self, probe: Probe, images: Images | Floats, momentum: Floats) -> Floats:
        variance = self._variance(probe)
        gradient = probe.gradient(images)
        self._before = images.astype(np.float64), gradient
        return gradient if variance is None else gradient + variance

    def _variance(self, probe: Probe) -> Floats | None:
        if self._before is None:
            return None
        images, gradient = self._before
        total = np.zeros(images.shape)
        for _ in range(self._copies):
            total += probe.gradient(images + noise(self._streams, images.shape, self._radius))
        return total / self._copies - gradient


def noise(streams: list[np.random.Generator], shape: tuple[int, ...], radius: float) -> Floats:
    """Draw uniform noise in [-radius, radius] grey levels, one image's from its own stream."""
    drawn = np.empty(shape)
    for values, rng in zip(drawn, streams, strict=True):
        values[...] = rng.uniform(-radius, radius, size=values.shape)
    return drawn
