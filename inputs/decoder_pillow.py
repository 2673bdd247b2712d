"""Pillow as a decoder; the reference that the other decoders are compared with, and their stand-in."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .containers import Container


def decode_pillow(container: Container, reduction: int) -> NDArray[np.uint8]:
    """Decode any known format with Pillow.

    Args:
        container: An inspected file.
        reduction: 1; or 2, 4, 8 for a JPEG whose sides are at least as large.

    Returns:
        (H, W, 3) uint8 RGB as stored, each side divided by ``reduction`` and rounded up.

    Raises:
        Exception: Of many kinds, if the file is damaged.

    Reference:
        ``Image.draft``, with which ``Image.thumbnail`` loads JPEGs.
    """
    with _opened(container) as image:
        if image.size != (container.width, container.height):
            raise ValueError(f"two sizes in one file, the other is {image.size}")
        if reduction > 1:
            image.draft(None, (container.width // reduction, container.height // reduction))
        if image.mode.startswith("I"):  # 16-bit grey; a plain conversion would clip at 255
            grey = (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        return np.array(image.convert("RGB"), dtype=np.uint8)


def _opened(container: Container) -> Image.Image:
    try:
        return Image.open(io.BytesIO(container.content), formats=[container.format])
    except UnidentifiedImageError:
        raise ValueError("its header is damaged") from None  # Pillow's own sentence names a memory address
