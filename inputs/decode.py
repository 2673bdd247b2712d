"""Stored bytes to pixels. What a container is and what is cut from it lives in ``containers.py``.

One policy for both decoders:

- JPEG, PNG, BMP and WebP, recognised by content, never by name; the size in the header is checked first.
- EXIF orientation is ignored: the stored pixels are what the label and the model were made for.
- Grey, palette and CMYK images become RGB; ICC profiles are ignored.
- Alpha is dropped, not blended, as torchvision and OpenCV do.
- 16-bit samples keep their high byte. Of an animation, the default (first) image counts.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.errors import InputError, unknown
from .containers import Container, inspect


def decode(content: bytes, *, decoder: str = "pillow") -> NDArray[np.uint8]:
    """Decode one stored image.

    Args:
        content: A JPEG, PNG, BMP or WebP file.
        decoder: ``"pillow"`` or ``"opencv"``. Both give the same pixels, except that CMYK JPEGs differ by one level.
            OpenCV's libraries write their complaints about a damaged file to standard error.

    Returns:
        (H, W, 3) uint8 RGB, at the stored size, C-contiguous.

    Raises:
        InputError: If the content is empty, of another format, damaged, truncated or larger than ``MAX_PIXELS``;
            or if the decoder is unknown.
    """
    if decoder not in DECODERS:
        raise unknown("decoder", decoder, DECODERS)
    container = inspect(content)
    try:
        pixels = DECODERS[decoder](container)
    # Damaged files make the decoders raise a dozen kinds of exception, from struct.error to MemoryError.
    except Exception as error:
        raise InputError(
            f"A {container.format} file of {container.width} x {container.height} pixels does not decode with "
            f"{decoder}: {error}. Replace or remove the file."
        ) from error
    if pixels.shape != (container.height, container.width, 3):
        raise InputError(
            f"A {container.format} file declares {container.width} x {container.height} pixels but decodes to "
            f"{pixels.shape}. Replace or remove the file."
        )
    return pixels


def _pillow(container: Container) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(container.content), formats=[container.format]) as image:
        if image.size != (container.width, container.height):
            raise ValueError(f"two sizes in one file, the other is {image.size}")
        if image.mode.startswith("I"):  # 16-bit grey; a plain conversion would clip at 255
            grey = (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        return np.array(image.convert("RGB"), dtype=np.uint8)


def _opencv(container: Container) -> NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(container.content, dtype=np.uint8), flags)
    if pixels is None:
        raise ValueError("damaged or truncated")
    return pixels


DECODERS: Mapping[str, Callable[[Container], NDArray[np.uint8]]] = {"opencv": _opencv, "pillow": _pillow}
"""Name to decoder; each takes an inspected container."""
