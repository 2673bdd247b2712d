"""The resizers a deployment may use, by name; which size to ask for is the pipeline's business.

Equal names do not mean equal pixels: Pillow's filters widen with the reduction (antialias), OpenCV's do not, and the
two ``nearest`` pick different source pixels. That is what the preprocessing conditions measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.errors import unknown

Resizer = Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]
"""Takes (H, W, 3) uint8, a height and a width; gives (height, width, 3) uint8."""


def resize(image: NDArray[np.uint8], *, height: int, width: int, resizer: str) -> NDArray[np.uint8]:
    """Resize an image with the named resizer.

    Args:
        image: (H, W, 3) uint8.
        height: Rows wanted, at least 1.
        width: Columns wanted, at least 1.
        resizer: A name of ``RESIZERS``.

    Returns:
        (height, width, 3) uint8; the image itself where the size is already right, as torchvision does.

    Raises:
        InputError: If the resizer is unknown.
    """
    if resizer not in RESIZERS:
        raise unknown("resizer", resizer, RESIZERS)
    if image.shape[:2] == (height, width):
        return image
    return RESIZERS[resizer](image, height, width)


def _pillow(resample: Image.Resampling) -> Resizer:
    def resizer(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(image).resize((width, height), resample))

    return resizer


def _opencv(interpolation: int) -> Resizer:
    def resizer(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        resized: NDArray[np.uint8] = cv2.resize(image, (width, height), interpolation=interpolation)
        return resized

    return resizer


RESIZERS: Mapping[str, Resizer] = {
    "opencv-area": _opencv(cv2.INTER_AREA),
    "opencv-cubic": _opencv(cv2.INTER_CUBIC),
    "opencv-lanczos": _opencv(cv2.INTER_LANCZOS4),
    "opencv-linear": _opencv(cv2.INTER_LINEAR),
    "opencv-nearest": _opencv(cv2.INTER_NEAREST),
    "pillow-bicubic": _pillow(Image.Resampling.BICUBIC),
    "pillow-bilinear": _pillow(Image.Resampling.BILINEAR),
    "pillow-box": _pillow(Image.Resampling.BOX),
    "pillow-hamming": _pillow(Image.Resampling.HAMMING),
    "pillow-lanczos": _pillow(Image.Resampling.LANCZOS),
    "pillow-nearest": _pillow(Image.Resampling.NEAREST),
}
"""Name to resizer: RobustART's eleven (arXiv 2109.05211)."""
