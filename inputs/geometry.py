"""Where pixels go: the size to resize to and the window to keep, in torchvision's rounding. No pixel is touched here.

One pixel of difference in these roundings moves an image as much as another interpolation filter does (mean 2-5 grey
levels on ImageNet), so they are written out and tested rather than left to a library.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import InputError
from .containers import MAX_PIXELS

GEOMETRIES = ("short-side-crop", "squash")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an image becomes the model's size: resize to ``height`` x ``width``, then keep a window.

    Attributes:
        height: Rows after the resize.
        width: Columns after the resize.
        top: First row kept.
        left: First column kept.
    """

    height: int
    width: int
    top: int
    left: int


def lay_out(image_size: tuple[int, int], model_size: tuple[int, int], *, geometry: str, crop_fraction: float) -> Layout:
    """Say how an image of one size becomes the model's size.

    ``short-side-crop`` scales the image, aspect ratio kept, until it just covers ``int(size / crop_fraction)`` in both
    directions (for a square model: the short side takes that value), with the other side cut by ``int()``; ``squash``
    takes that size in both directions whatever the aspect ratio. Both keep the centre, its offset rounded half to even.

    Args:
        image_size: Stored (height, width).
        model_size: Wanted (height, width).
        geometry: ``"short-side-crop"`` or ``"squash"``.
        crop_fraction: Share of the resized side that is kept, in (0, 1].

    Returns:
        The resize and the window.

    Raises:
        InputError: If the image is so narrow that resizing it would take more than ``MAX_PIXELS``.

    Reference:
        torchvision ``Resize(int)`` and ``CenterCrop``; the rule for a model that is not square is ours.
    """
    target = int(model_size[0] / crop_fraction), int(model_size[1] / crop_fraction)
    height, width = target if geometry == "squash" else _cover(image_size, target)
    if height * width > MAX_PIXELS:
        raise InputError(
            f"An image of {image_size[1]} x {image_size[0]} pixels would be resized to {width} x {height}, more than "
            f"{MAX_PIXELS} pixels. Remove the image, or use the geometry 'squash'."
        )
    top, left = round((height - model_size[0]) / 2), round((width - model_size[1]) / 2)
    return Layout(height=height, width=width, top=top, left=left)


def _cover(image_size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    (height, width), (rows, columns) = image_size, target
    if columns * height >= rows * width:  # the width is the tight side
        return int(columns * height / width), columns
    return rows, int(rows * width / height)
