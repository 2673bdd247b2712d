"""What transfer attacks share: where gradients come from, integer steps, the integer bound, and the result."""

from __future__ import annotations

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
Floats = NDArray[np.float32]
Shares = NDArray[np.float64]
Levels = NDArray[np.int16]


class GradientSource(Protocol):
    """Anything that differentiates the cross-entropy with respect to pixels."""

    def gradient(self, images: Images, labels: Labels) -> Floats:
        """Give d cross-entropy / d pixel, (N, H, W, 3) float32, for (N, H, W, 3) uint8 images and (N,) labels.

        Each image's gradient depends on that image alone.
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


class Ascent:
    """The uint8 images under attack, with their originals, the bound, and the count of zero gradients.

    Every step is a whole number of grey levels, so nothing is ever rounded and the bound holds in integers.

    Args:
        task: The originals, their labels and the source of gradients.
        eps: Radius in grey levels, 1..255.

    Raises:
        InputError: If eps is not as stated.
    """

    def __init__(self, task: TransferTask, *, eps: int) -> None:
        self._eps = whole_levels("eps", eps)
        self._task = task
        self._zeros = np.zeros(len(task.images), dtype=np.float64)
        self._gradients = 0
        self.images: Images = task.images.copy()

    def gradient(self) -> Floats:
        """Give the gradient at the present images, (N, H, W, 3) float32, and count its zeros."""
        gradient = self._task.source.gradient(self.images, self._task.labels)
        self._zeros += (gradient == 0).mean(axis=(1, 2, 3), dtype=np.float64) if len(gradient) else 0
        self._gradients += 1
        return gradient

    def move(self, steps: NDArray[np.integer[Any]]) -> None:
        """Add whole grey levels, then go back into the ball and into 0..255.

        Args:
            steps: (N, H, W, 3) integers.
        """
        originals = self._task.images.astype(np.int16)
        low = np.maximum(originals - self._eps, 0)
        high = np.minimum(originals + self._eps, MAX_LEVEL)
        moved = self.images.astype(np.int16) + steps.astype(np.int16)
        self.images = np.clip(moved, low, high).astype(np.uint8)

    def result(self) -> TransferResult:
        """Give the present images, their bound checked in integers."""
        distance = np.abs(self.images.astype(np.int16) - self._task.images.astype(np.int16))
        assert distance.max(initial=0) <= self._eps
        return TransferResult(adversarials=self.images, zero_gradient_shares=self._zeros / max(self._gradients, 1))


def signs(directions: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Give -1, 0 or 1 per value: a pixel with zero gradient stays where it is; NaN counts as zero."""
    return (directions > 0).astype(np.int16) - (directions < 0).astype(np.int16)


def step_size(alpha: int | None, eps: int) -> int:
    """Give the step in grey levels: ``alpha``, or a quarter of eps, at least one level.

    Raises:
        InputError: If ``alpha`` is not in 1..255.
    """
    return max(1, round(eps / 4)) if alpha is None else whole_levels("alpha", alpha)


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
