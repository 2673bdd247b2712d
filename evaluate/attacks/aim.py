"""Which class a targeted attack wants the engine to answer."""

from __future__ import annotations

from ...core.errors import InputError
from ...core.randomness import image_stream

GOALS = ("untargeted", "targeted")


def drawn_target(seed: int, image_sha256: str, label: int, classes: int) -> int:
    """Draw the class an image is to be taken for: any but its own, the same for every attack, eps and engine.

    Args:
        seed: The run's seed.
        image_sha256: Hash of the image's stored bytes.
        label: Its right class, 0..classes-1.
        classes: Number of classes, at least 2.

    Raises:
        InputError: If there is no other class.

    Example:
        >>> {drawn_target(seed, "an image", 1, 3) for seed in range(20)}
        {0, 2}
    """
    if classes < 2 or not 0 <= label < classes:
        raise InputError(f"Expected a label in 0..{classes - 1} and another class to aim at, got label {label}.")
    word = int(image_stream(seed, "target", image_sha256).bit_generator.random_raw())
    other = (word >> 32) * (classes - 1) >> 32
    return other + (other >= label)
