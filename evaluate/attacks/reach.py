"""How far a query attack may move an image, in L-inf and in L2, checked in integers on the uint8 grid."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .protocol import Image, linf_levels

Reach = Literal["linf", "l2"]
Step = NDArray[np.float32]


def is_inside(proposal: Image, image: Image, *, eps: int, norm: Reach) -> bool:
    """Tell whether an image is at most ``eps`` grey levels away from the original, in integers."""
    if norm == "linf":
        return linf_levels(proposal, image) <= eps
    return l2_squared(proposal, image) <= eps * eps


def brought_inside(proposal: Image, image: Image, *, eps: int, norm: Reach) -> Image:
    """Give the image clipped into the L-inf ball, or drawn back along its line into the L2 ball."""
    if norm == "linf":
        return np.clip(proposal, *bounds(image, eps))
    return on_grid(image, proposal.astype(np.float32) - image, eps)


def bounds(image: Image, eps: int) -> tuple[Image, Image]:
    """Give the lowest and the highest image of the L-inf ball.

    Example:
        >>> [bound.tolist() for bound in bounds(np.uint8([3, 100]), 8)]
        [[0, 92], [11, 108]]
    """
    wide = image.astype(np.int16)
    return np.maximum(wide - eps, 0).astype(np.uint8), np.minimum(wide + eps, 255).astype(np.uint8)


def l2_squared(a: Image, b: Image) -> int:
    """Give the square of the L2 distance of two uint8 images in grey levels, an exact integer.

    Example:
        >>> l2_squared(np.uint8([3, 4]), np.uint8([0, 0]))
        25
    """
    moved = a.astype(np.int32) - b
    return int((moved * moved).sum(dtype=np.int64))


def on_grid(image: Image, step: Step, eps: int) -> Image:
    """Give the uint8 image nearest to image + step that is at most ``eps`` levels away in L2, in integers.

    Args:
        image: (H, W, 3) uint8.
        step: (H, W, 3) float32 in levels, of about that length.
        eps: Radius in levels.
    """
    shrink = np.float32(1)
    while True:
        found: Image = np.clip(np.rint(image + shrink * step), 0, 255).astype(np.uint8)
        squared = l2_squared(found, image)
        if squared <= eps * eps:
            return found
        shrink *= np.float32(min(0.998, eps / squared**0.5))
