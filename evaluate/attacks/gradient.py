"""What transfer attacks share: where gradients come from, the task, the count of zero gradients, and the result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...core.randomness import image_stream

MAX_LEVEL = 255
DEFAULT_STEPS = 10

Images = NDArray[np.uint8]
Labels = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
Shares = NDArray[np.float64]


class GradientSource(Protocol):
    """Anything that differentiates the cross-entropy with respect to pixels."""

    def gradient(self, images: Images | Floats, labels: Labels) -> Floats:
        """Give d cross-entropy / d pixel, (N, H, W, 3) float32 or float64, for (N, H, W, 3) images and (N,) labels.

        Images are uint8, or float64 on the same scale of grey levels: an attack may look between the levels and
        beyond 0..255 for a direction, though it delivers uint8. Each image's gradient depends on that image alone.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class TransferTask:
    """What a transfer attack works on.

    Attributes:
        images: (N, H, W, 3) uint8 at model size.
        labels: (N,) integers, the true classes.
        hashes: SHA-256 of each image's stored bytes; keys its random stream.
        source: Where gradients come from.
        seed: The run's seed.

    Raises:
        InputError: If the images are not uint8 (N, H, W, 3), or labels or hashes are not N.
    """

    images: Images
    labels: Labels
    hashes: Sequence[str]
    source: GradientSource
    seed: int = 0

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise InputError(f"Expected images (N, H, W, 3) uint8, got {self.images.shape} {self.images.dtype}.")
        if len(self.labels) != count or len(self.hashes) != count:
            raise InputError(
                f"Expected one label and one hash for each of {count} images, "
                f"got {len(self.labels)} and {len(self.hashes)}."
            )

    def streams(self, name: str) -> Iterator[np.random.Generator]:
        """Give each image's random stream for a purpose such as ``"pgd:eps=8"``."""
        return (image_stream(self.seed, name, sha256) for sha256 in self.hashes)


@dataclass(frozen=True, kw_only=True)
class TransferResult:
    """What a transfer attack hands over to be shown to an engine.

    Attributes:
        adversarials: (N, H, W, 3) uint8, each pixel at most eps levels from its original.
        zero_gradient_shares: (N,) float64 in [0, 1], per image: the share of exactly zero values in the gradients seen
            over all steps. A masked model gives many.
    """

    adversarials: Images
    zero_gradient_shares: Shares

    @property
    def zero_gradient_share(self) -> float:
        """Mean share over the images; 0 without images."""
        return float(self.zero_gradient_shares.mean()) if self.zero_gradient_shares.size else 0.0


class Probe:
    """Asks the source for gradients on behalf of one attack, and counts their zeros.

    Args:
        task: The labels and the source.
    """

    def __init__(self, task: TransferTask) -> None:
        self._task = task
        self._zeros = np.zeros(len(task.images), dtype=np.float64)
        self._asked = 0

    def gradient(self, images: Images | Floats) -> Floats:
        """Give d cross-entropy / d pixel at some images, uint8 or float64 grey levels, in the shape of the task's."""
        gradient = self._task.source.gradient(images, self._task.labels)
        self._zeros += (gradient == 0).mean(axis=(1, 2, 3), dtype=np.float64) if len(gradient) else 0
        self._asked += 1
        return gradient

    def result(self, adversarials: Images) -> TransferResult:
        """Give the outcome with the share of zeros over all gradients asked for."""
        return TransferResult(adversarials=adversarials, zero_gradient_shares=self._zeros / max(self._asked, 1))


def signs(directions: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Give -1, 0 or 1 per value: a pixel with zero gradient stays where it is; NaN counts as zero."""
    return (directions > 0).astype(np.int16) - (directions < 0).astype(np.int16)


def step_numbers(steps: int) -> Iterator[int]:
    """Count the steps.

    Raises:
        InputError: If there is none to take.
    """
    if steps < 1:
        raise InputError(f"Expected `steps` of at least 1, got {steps}. Use 10.")
    return iter(range(steps))


def whole_levels(name: str, value: int) -> int:
    """Check that a distance is a whole number of grey levels, 1..255.

    Raises:
        InputError: If not; a fraction such as 0.5/255 does not exist on a deployed image.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= MAX_LEVEL:
        raise InputError(f"Expected `{name}` as whole grey levels in 1..255, got {value!r}. Use 8 for 8/255.")
    return int(value)


def at_least(name: str, value: float, least: float) -> float:
    """Check a setting that may be any number from a bound on.

    Raises:
        InputError: If it is lower, or no finite number.
    """
    if not (value >= least and math.isfinite(value)):
        raise InputError(f"Expected `{name}` of at least {least:g}, got {value}. Leave it out for the default.")
    return value
