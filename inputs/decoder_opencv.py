"""OpenCV as a decoder."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .containers import Container

_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,  # the bit that halves; the colour is asked for beside it
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def decode_opencv(container: Container, reduction: int) -> NDArray[np.uint8]:
    """Decode any known format with ``cv2.imdecode``.

    Its libraries write their complaints about a damaged file to standard error.

    Args:
        container: An inspected file.
        reduction: 1, 2, 4 or 8.

    Returns:
        (H, W, 3) uint8 RGB as stored, each side divided by ``reduction`` and rounded up.

    Raises:
        ValueError: If the file is damaged or truncated.
        Exception: Of OpenCV, likewise.
    """
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[reduction]
    pixels: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(container.content, dtype=np.uint8), flags)
    if pixels is None:
        raise ValueError("damaged or truncated")
    return pixels
