"""The corruptions by name, and the functions that run one. Adding a corruption is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ...core.errors import InputError, unknown
from ...core.files import sha256_bytes
from ...core.randomness import image_stream
from . import brightness, gaussian_noise, jpeg, motion_blur
from .parameters import Draws, ParameterSet, Pixels, default_parameters


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A corruption in two halves, so that tests and other languages can feed the same random numbers.

    Attributes:
        draw: Takes a generator and the image's shape; gives all the random numbers, for any severity.
        apply: Takes image, draws, severity and parameter set; gives the corrupted image and changes no argument.
    """

    draw: Callable[[np.random.Generator, tuple[int, ...]], Draws]
    apply: Callable[[Pixels, Draws, int, ParameterSet], Pixels]


CORRUPTIONS: Mapping[str, Corruption] = {
    "brightness": Corruption(draw=brightness.draw, apply=brightness.apply),
    "gaussian_noise": Corruption(draw=gaussian_noise.draw, apply=gaussian_noise.apply),
    "jpeg": Corruption(draw=jpeg.draw, apply=jpeg.apply),
    "motion_blur": Corruption(draw=motion_blur.draw, apply=motion_blur.apply),
}
"""Corruption name to its two halves."""


def corrupt(
    image: Pixels, name: str, *, severity: int, seed: int = 0, parameters: ParameterSet | None = None
) -> Pixels:
    """Corrupt one image; the same arguments give the same bytes anywhere.

    The random stream belongs to the image's pixels, so it does not depend on what else is corrupted, or when.

    Args:
        image: (H, W, 3) uint8 RGB, any size from 1 x 1.
        name: A name of ``CORRUPTIONS``.
        severity: 1 (mild) to 5.
        seed: Any integer.
        parameters: ``"imagenet-c"`` or ``"cifar10-c"``; chosen by ``default_parameters`` when left out.

    Returns:
        (H, W, 3) uint8; ``image`` is not changed.

    Raises:
        InputError: If the image is none, or name, severity or parameter set do not exist.

    Example:
        >>> corrupt(np.zeros((2, 2, 3), np.uint8), "brightness", severity=1, parameters="imagenet-c")[0, 0]
        array([25, 25, 25], dtype=uint8)
    """
    _check_image(image)
    chosen = default_parameters(image.shape[0], image.shape[1]) if parameters is None else parameters
    task = corruption_task(name, severity, chosen)
    rng = image_stream(seed, task, sha256_bytes(image.tobytes()))
    return corrupt_with(image, name, severity, rng, chosen)


def corrupt_with(image: Pixels, name: str, severity: int, rng: np.random.Generator, parameters: ParameterSet) -> Pixels:
    """Corrupt one image with random numbers from a stream of the caller's.

    Args:
        image: (H, W, 3) uint8 RGB, any size from 1 x 1.
        name: A name of ``CORRUPTIONS``.
        severity: 1 (mild) to 5.
        rng: Where the draws come from; advanced.
        parameters: ``"imagenet-c"`` or ``"cifar10-c"``.

    Returns:
        (H, W, 3) uint8; ``image`` is not changed.

    Raises:
        InputError: If the image is none, or name, severity or parameter set do not exist.
    """
    _check_image(image)
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    corruption = CORRUPTIONS[name]
    image = np.ascontiguousarray(image)
    return corruption.apply(image, corruption.draw(rng, image.shape), severity, parameters)


def corruption_task(name: str, severity: int, parameters: ParameterSet) -> str:
    """Name a corruption at one severity, for random streams and for results: every severity draws anew."""
    return f"{name}:severity={severity},parameters={parameters}"


def _check_image(image: Pixels) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"Expected an image (H, W, 3) uint8, got {image.shape} {image.dtype}. Convert it first.")
