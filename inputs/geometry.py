"""Where pixels go: the size to resize to and the window to keep. No pixel is touched here.

One pixel of difference in these roundings moves an image as much as another interpolation filter does (mean 2-5 grey
levels on ImageNet), so they are written out and tested rather than left to a library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .containers import MAX_PIXELS

Places = NDArray[np.int64]

LETTERBOX_FILLS: Mapping[str, int] = {"letterbox-black": 0, "letterbox-grey": 114}
"""Geometry to the level of its border; 114 is YOLO's."""

GEOMETRIES = ("short-side-crop", "squash", *LETTERBOX_FILLS)

SIZE_ROUNDINGS: Mapping[str, Callable[[float], int]] = {"ceil": math.ceil, "int": int, "round": round}
"""What is done to the other side's fraction; ``round`` takes halves to the even neighbour."""

CROP_ROUNDINGS: Mapping[str, Callable[[float], int]] = {"ceil": math.ceil, "floor": math.floor, "half-even": round}
"""What is done to half a pixel of the window's offset."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of an image.

    Attributes:
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.
    """

    top: int
    left: int
    height: int
    width: int

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """Give the window's pixels of an (H, W, 3) image, as a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an image becomes the model's size: resize to ``height`` x ``width``, then keep a window.

    Attributes:
        height: Rows after the resize.
        width: Columns after the resize.
        top: First row kept; where negative, so many rows of border are above the image.
        left: First column kept, likewise.
    """

    height: int
    width: int
    top: int
    left: int

    def window(self, model_size: tuple[int, int]) -> Window:
        """Give the part of the resized image that is kept for a model of (height, width)."""
        top, left = max(self.top, 0), max(self.left, 0)
        height, width = min(model_size[0], self.height - top), min(model_size[1], self.width - left)
        return Window(top=top, left=left, height=height, width=width)

    def places(self, image_size: tuple[int, int], model_size: tuple[int, int]) -> tuple[Places, Places]:
        """Give for each row and each column of the image that of the model's into which its middle falls.

        Returns:
            (height,) and (width,) of the image, int64; -1 for what is cut off.
        """
        sides = (
            (image_size[0], self.height, self.top, model_size[0]),
            (image_size[1], self.width, self.left, model_size[1]),
        )
        rows, columns = (_places(*side) for side in sides)
        return rows, columns


def _places(stored: int, resized: int, first: int, kept: int) -> Places:
    place = np.floor((np.arange(stored) + 0.5) * resized / stored).astype(np.int64) - first
    return np.where((place >= 0) & (place < kept), place, -1)


def lay_out(
    image_size: tuple[int, int],
    model_size: tuple[int, int],
    *,
    geometry: str,
    crop_fraction: float,
    size_rounding: str = "int",
    crop_rounding: str = "half-even",
) -> Layout:
    """Say how an image of one size becomes the model's size.

    The target is ``int(size / crop_fraction)`` in both directions. ``short-side-crop`` scales the image, aspect ratio
    kept, until it just covers the target (for a square model: the short side takes that value); ``letterbox-black`` and
    ``letterbox-grey`` scale it until it just fits inside; ``squash`` takes the target whatever the aspect ratio. All
    keep the centre, or put the image there.

    Args:
        image_size: Stored (height, width).
        model_size: Wanted (height, width).
        geometry: A name of ``GEOMETRIES``.
        crop_fraction: Share of the resized side that is kept, in (0, 1].
        size_rounding: A name of ``SIZE_ROUNDINGS``, for the side that follows from the aspect ratio.
        crop_rounding: A name of ``CROP_ROUNDINGS``, for the window's offset.

    Returns:
        The resize and the window.

    Raises:
        InputError: If the image is so narrow that resizing it would take more than ``MAX_PIXELS``.

    Reference:
        torchvision ``Resize(int)`` and ``CenterCrop``; the rule for a model that is not square is ours. SysNoise (Wang
        et al. 2023, arXiv 2307.00280) sec. 3 on what the roundings cost.
    """
    target = int(model_size[0] / crop_fraction), int(model_size[1] / crop_fraction)
    rounding = SIZE_ROUNDINGS[size_rounding]
    height, width = target if geometry == "squash" else _scaled(image_size, target, geometry, rounding)
    if height * width > MAX_PIXELS:
        raise InputError(
            f"An image of {image_size[1]} x {image_size[0]} pixels would be resized to {width} x {height}, more than "
            f"{MAX_PIXELS} pixels. Remove the image, or use the geometry 'squash'."
        )
    offset = CROP_ROUNDINGS[crop_rounding]
    top, left = offset((height - model_size[0]) / 2), offset((width - model_size[1]) / 2)
    return Layout(height=height, width=width, top=top, left=left)


def _scaled(
    image_size: tuple[int, int], target: tuple[int, int], geometry: str, rounding: Callable[[float], int]
) -> tuple[int, int]:
    (height, width), (rows, columns) = image_size, target
    narrow = columns * height >= rows * width  # the image is the taller one
    if narrow == (geometry == "short-side-crop"):
        return max(1, rounding(columns * height / width)), columns
    return rows, max(1, rounding(rows * width / height))
