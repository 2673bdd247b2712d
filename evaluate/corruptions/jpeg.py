"""The artefacts of strong JPEG compression."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from ...core.errors import InputError
from .parameters import Draws, ParameterSet, Pixels, at_severity, no_draws

QUALITY: Mapping[ParameterSet, tuple[int, ...]] = {
    "imagenet-c": (25, 18, 15, 10, 7),
    "cifar10-c": (80, 65, 58, 50, 40),
}
"""libjpeg's quality, severities 1 to 5."""

MAX_SIDE = 65_500
"""Longest side a JPEG encoder takes."""


def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Draws:
    """Give an empty array: nothing is random here."""
    return no_draws()


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Compress with Pillow's defaults (4:2:0, baseline) and decode.

    Args:
        image: (H, W, 3) uint8 RGB; chroma is subsampled, so the channel order matters.
        draws: Not used.
        severity: 1 to 5.
        parameters: Parameter set.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: If severity or parameter set does not exist, or a side exceeds what JPEG holds.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; equal in every byte.
    """
    quality = at_severity(QUALITY, severity, parameters)
    if max(image.shape) > MAX_SIDE:
        raise InputError(
            f"Expected sides up to {MAX_SIDE} pixels for 'jpeg', got {image.shape[:2]}. Use smaller images."
        )
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    with Image.open(file, formats=["JPEG"]) as compressed:
        return np.array(compressed, dtype=np.uint8)
