"""The artefacts of strong JPEG compression."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from .parameters import Draws, ParameterSet, Pixels, at_severity

QUALITY: Mapping[ParameterSet, tuple[int, ...]] = {
    "imagenet-c": (25, 18, 15, 10, 7),
    "cifar10-c": (80, 65, 58, 50, 40),
}
"""libjpeg's quality, severities 1 to 5."""

MAX_SIDE = 65_500
"""Longest side a JPEG encoder takes."""


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Compress as Pillow does by default (4:2:0, baseline) and decode; see ``Apply``.

    Chroma is subsampled, so the channel order matters.

    Raises:
        InputError: As there, or if a side exceeds what JPEG holds.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; equal in every byte.
    """
    quality = at_severity(QUALITY, severity, parameters)
    if max(image.shape) > MAX_SIDE:
        raise InputError(
            f"Expected sides up to {MAX_SIDE} pixels for 'jpeg', got {image.shape[:2]}. Use smaller images."
        )
    encoded = encode(image, quality)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    assert decoded is not None  # it was encoded just now
    return np.asarray(decoded, np.uint8)


def encode(image: Pixels, quality: int) -> NDArray[np.uint8]:
    """Write a baseline JPEG with subsampled chroma (4:2:0): the file's bytes.

    Args:
        image: (H, W, 3) uint8 RGB.
        quality: libjpeg's, 1 to 100.
    """
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    file: NDArray[np.uint8] = encoded
    return file
