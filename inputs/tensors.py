"""Pixels in the engine's layout and numbers: by a table of 256 values a channel, without arithmetic on the image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_CACHED = 1 << 19  # bytes of planes that are looked up while they are near


def arranged(images: NDArray[np.uint8], layout: str) -> NDArray[np.uint8]:
    """Give (N, H, W, 3) images as (N, 3, H, W) for ``"nchw"``, or as they are for ``"nhwc"``; C-contiguous."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if layout == "nchw" else images


def looked_up(images: NDArray[np.uint8], table: NDArray[Any], layout: str) -> NDArray[Any]:
    """Replace every pixel by its channel's value.

    Args:
        images: (N, H, W, 3) uint8, C-contiguous, at least one pixel.
        table: (3, 256), any type: the value of each level in each channel.
        layout: ``"nchw"`` or ``"nhwc"``.

    Returns:
        (N, 3, H, W) or (N, H, W, 3) of the table's type, C-contiguous.
    """
    return _planes(images, table) if layout == "nchw" else _interleaved(images, table)


def _planes(images: NDArray[np.uint8], table: NDArray[Any]) -> NDArray[Any]:
    count, height, width, _ = images.shape
    tensor = np.empty((count, 3, height * width), table.dtype)
    step = max(1, _CACHED // (3 * height * width))
    for first in range(0, count, step):
        group, found = images[first : first + step], tensor[first : first + step]
        for channel, plane in enumerate(cv2.split(group.reshape(-1, width, 3))):
            cv2.LUT(plane.reshape(len(group), -1), table[channel][None], dst=found[:, channel])
    return tensor.reshape(count, 3, height, width)


def _interleaved(images: NDArray[np.uint8], table: NDArray[Any]) -> NDArray[Any]:
    count, height, width, _ = images.shape
    tensor = cv2.LUT(images.reshape(count * height, width, 3), np.ascontiguousarray(table.T)[None])
    return np.asarray(tensor, dtype=table.dtype).reshape(images.shape)
