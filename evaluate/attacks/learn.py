"""The one loop of attacks that learn a pattern over many images: sign steps up a clamped loss, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...core.randomness import image_stream
from ..twin.twin import InputGradient
from .gradient import Floats, GradientSource, Images, Labels, TransferResult, TransferTask, signs, step_numbers

BATCH = 32
CLAMP = 9.0

# What learning gives: it makes the adversarial images of any task.
Craft = Callable[[TransferTask], TransferResult]


class ScoredSource(GradientSource, Protocol):
    """A source of gradients that tells the scores as well, so that the loss is known."""

    def scored_gradient(self, images: Images | Floats, labels: Labels) -> InputGradient:
        """Give logits and what `gradient` gives."""
        ...


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a pattern is learned from; none of these images may be attacked with it.

    Attributes:
        images: (N, H, W, 3) uint8 at model size, N >= 1.
        labels: (N,) integers, the true classes.
        source: Where scores and gradients come from.
        seed: The run's seed.

    Raises:
        InputError: If the images are not uint8 (N, H, W, 3) with a label each, or there is none.
    """

    images: Images
    labels: Labels
    source: ScoredSource
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8 or not len(self.images):
            raise InputError(f"Expected images (N, H, W, 3) uint8, got {self.images.shape} {self.images.dtype}.")
        if len(self.labels) != len(self.images):
            raise InputError(f"Expected a label for each of {len(self.images)} images, got {len(self.labels)}.")


class Worn(NamedTuple):
    """Images with a pattern on them.

    Attributes:
        images: (N, H, W, 3) grey levels.
        pull: Turns d loss / d images, (N, H, W, 3), into d sum of losses / d pattern.
    """

    images: Floats
    pull: Callable[[Floats], Floats]


class Wear(Protocol):
    """How a pattern gets onto images."""

    def __call__(self, pattern: Floats, images: Images, rng: np.random.Generator) -> Worn:
        """Put the pattern on each of (N, H, W, 3) images, with fresh draws from ``rng``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where a pattern may lie and how far it moves in the first step, in grey levels."""

    low: float
    high: float
    step: float


class Pattern(NamedTuple):
    """What was learned.

    Attributes:
        values: float64 grey levels in the box, in the shape of the start.
        zero_gradient_share: Share of exactly zero values in the gradients seen, the clamp left out of account.
    """

    values: Floats
    zero_gradient_share: float


def learn(lesson: Lesson, start: Floats, wear: Wear, box: Box, *, steps: int, task: str) -> Pattern:
    """Move one pattern along the sign of the gradient of the mean clamped cross-entropy, a mini-batch at a time.

    Each step sees 32 images; every image is seen once before any is seen again, in a new order each time. An image
    whose loss exceeds the clamp of 9 gives no gradient: it is fooled, and its unbounded loss would rule the others.
    Steps shrink linearly towards zero, so that the last mini-batches do not decide alone.

    Args:
        lesson: The images and the source of gradients.
        start: The pattern to begin with, grey levels.
        wear: How it gets onto images.
        box: Its bounds, and the step.
        steps: Number of mini-batches, at least 1.
        task: Names the random stream.

    Raises:
        InputError: If ``steps`` is below 1.

    Reference:
        Shafahi et al. 2020, arXiv 1811.11304, section 3: Algorithm 1 with sign steps, and its clamped loss
        min(loss, beta); Brown et al. 2017, arXiv 1712.09665, section 2, where ``wear`` is its operator A(p, x, l, t).
    """
    rng = image_stream(lesson.seed, task, "")
    pattern, zeros = start.astype(np.float64), 0.0
    for number, chosen in zip(step_numbers(steps), _batches(len(lesson.images), rng), strict=False):
        worn = wear(pattern, lesson.images[chosen], rng)
        found = lesson.source.scored_gradient(worn.images, lesson.labels[chosen])
        counts = _cross_entropy(found.scores, lesson.labels[chosen]) <= CLAMP
        direction = worn.pull(found.gradient * counts.reshape(-1, 1, 1, 1))
        step = box.step * (1 - number / steps)
        pattern = np.clip(pattern + step * signs(direction), box.low, box.high)
        zeros += float((found.gradient == 0).mean())
    return Pattern(values=pattern, zero_gradient_share=zeros / steps)


def _batches(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    while True:
        order = rng.permutation(count)
        yield from (order[first : first + BATCH] for first in range(0, count, BATCH))


def _cross_entropy(scores: Floats, labels: Labels) -> Floats:
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    losses: Floats = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return losses
