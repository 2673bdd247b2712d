"""What a query attack is, what it is told, and what it hands back; the attacks themselves live beside this file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Why an attack on one image ended. Every other reason is a sentence that names a failure.
FOOLED = "fooled"
CLEAN_WRONG = "clean-wrong"
BUDGET_SPENT = "budget spent"


class Goal(NamedTuple):
    """What an attack wants the engine to answer.

    Attributes:
        label: The image's right class, to be left.
        target: The class to be reached; None where any other than ``label`` will do.
    """

    label: int
    target: int | None = None


class Answer(NamedTuple):
    """What one query gives back to the attack.

    Attributes:
        scores: (C,) float32, what the attacker sees; its meaning is the oracle's ``score_access``.
        margin: Score of the label minus the best other score, of what the attacker sees; with a target, the best
            other score minus the target's. Zero is a tie.
        wrong: True when the production argmax (lowest index on ties) of the engine's raw output is what the attack
            wants: not the label, or the target where there is one. This alone is success; a margin of zero is not.
    """

    scores: Floats
    margin: float
    wrong: bool


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """How the attack on one image ended.

    Attributes:
        adversarial: (H, W, 3) uint8, the delivered image; the closest one found where the attack failed.
        queries: Forward passes asked for this image, the clean check included.
        success: True when the production argmax of the delivered image was what the attack wanted.
        reason: ``"fooled"``, ``"clean-wrong"``, ``"budget spent"`` or a sentence naming a failure.
        linf: Largest change of a channel value, in grey levels, computed in integers on ``adversarial``.
        ties: Number of proposals whose margin equalled the best so far exactly (the plateau count).
        margin: Margin of ``adversarial`` as the attacker saw it; NaN when no query was answered.
    """

    adversarial: Image
    queries: int
    success: bool
    reason: str
    linf: int
    ties: int = 0
    margin: float = float("nan")


class AttackState(Protocol):
    """One attack on one image: it proposes an image, is told the answer, and so on until it is done."""

    @property
    def goal(self) -> Goal:
        """What the engine is to answer."""

    @property
    def done(self) -> bool:
        """True when the attack has nothing more to ask."""

    def propose(self, canvas: Image) -> None:
        """Write the next query into ``canvas``, (H, W, 3) uint8, in place.

        Between two calls the canvas keeps what this attack wrote (its memory may move), so an attack may write only
        the pixels that change. Before the first call its content is undefined.
        """

    def tell(self, answer: Answer) -> None:
        """Take the answer to the last proposal."""

    def result(self, queries: int, reason: str | None = None) -> AttackResult:
        """Give the outcome, counted by the oracle as ``queries``; ``reason`` tells why it was cut short, if it was."""


class QueryAttack(Protocol):
    """A recipe with its settings, of which one state per image is made."""

    @property
    def task(self) -> str:
        """What to key the random streams with, e.g. ``"square:eps=8"`` (see ``core.randomness.image_stream``)."""

    @property
    def budget(self) -> int:
        """Most queries per image, the clean check included."""

    def begin(self, image: Image, goal: Goal, rng: np.random.Generator, start: Image | None = None) -> AttackState:
        """Give the state that attacks one image.

        Args:
            image: (H, W, 3) uint8 at the model's size.
            goal: Its right class, and the class it is to be taken for, if any.
            rng: The image's own stream, ``image_stream(seed, attack.task, sha256)``.
            start: (H, W, 3) uint8 to begin the search at, e.g. a transfer example; it is brought into the ball. None
                for the attack's own start.

        Raises:
            InputError: If ``image`` or ``start`` is not a uint8 colour image, or their shapes differ.
        """


def linf_levels(adversarial: Image, image: Image) -> int:
    """Give the L-inf distance of two images in whole grey levels.

    Args:
        adversarial: uint8, any shape.
        image: uint8, the same shape.

    Returns:
        The largest absolute difference, 0..255, computed in integers.

    Raises:
        InputError: If the shapes differ or one of them is not uint8.

    Example:
        >>> linf_levels(np.uint8([0, 255]), np.uint8([8, 255]))
        8
    """
    if adversarial.dtype != np.uint8 or image.dtype != np.uint8 or adversarial.shape != image.shape:
        raise InputError(
            f"Expected two uint8 images of one shape, got {adversarial.dtype} {adversarial.shape} and "
            f"{image.dtype} {image.shape}. Measure distances on the delivered uint8 images."
        )
    return int(cv2.norm(adversarial.reshape(-1), image.reshape(-1), cv2.NORM_INF)) if image.size else 0


def check_image(image: Image) -> Image:
    """Give the image as C-contiguous memory, or refuse what is no uint8 colour image.

    Raises:
        InputError: If ``image`` is not uint8 of shape (H, W, 3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"Expected a uint8 image of shape (H, W, 3), got {image.dtype} {image.shape}. "
            "Attacks work on the uint8 grid at the model's size: pass what the pipeline's `load` gives."
        )
    return np.ascontiguousarray(image)


def check_start(image: Image, start: Image | None) -> tuple[Image, Image | None]:
    """Give image and start as C-contiguous memory.

    Raises:
        InputError: If one of them is not uint8 of shape (H, W, 3), or their shapes differ.
    """
    image = check_image(image)
    if start is None:
        return image, None
    start = check_image(start)
    if start.shape != image.shape:
        raise InputError(f"Expected `start` of shape {image.shape}, got {start.shape}.")
    return image, start


def check_eps_and_budget(eps: int, budget: int, *, largest: int | None = 255) -> None:
    """Refuse a radius or a budget that no attack can work with.

    Raises:
        InputError: If ``eps`` is not in 1..``largest`` grey levels, or ``budget`` is below 1.
    """
    if eps < 1 or (largest is not None and eps > largest):
        allowed = "of at least 1 grey level" if largest is None else f"in 1..{largest} grey levels"
        raise InputError(f"Expected `eps` {allowed}, got {eps}.")
    if budget < 1:
        raise InputError(f"Expected `budget` of at least 1 query, got {budget}.")
