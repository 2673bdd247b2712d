"""How corrupted images are kept: as they are, or as JPEG of quality 85, as the downloadable ImageNet-C is."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from .jpeg import encode
from .parameters import Pixels

Storage = Literal["raw", "jpeg85"]
STORAGES: tuple[Storage, ...] = ("raw", "jpeg85")

SUFFIX = {"raw": ".png", "jpeg85": ".jpg"}
"""Ending of the files of each storage."""

_QUALITY = 85


def stored(image: Pixels, storage: Storage) -> Pixels:
    """Give the image as it is read back from its storage: (H, W, 3) uint8 RGB in and out."""
    if storage == "raw":
        return image
    decoded = cv2.imdecode(encode(image, _QUALITY), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None  # it was encoded just now
    return np.asarray(decoded, np.uint8)


def to_file(image: Pixels, storage: Storage) -> bytes:
    """Write an image (H, W, 3) uint8 RGB as the bytes of a PNG (``raw``) or of a JPEG (``jpeg85``)."""
    if storage == "jpeg85":
        return encode(image, _QUALITY).tobytes()
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return png.tobytes()
