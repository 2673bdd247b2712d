"""Squares of a turned checkerboard cut out of the picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .parameters import Draws, ParameterSet, Pixels, at_severity

LEVEL: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (2, 3, 4, 5, 6),
    "cifar10-c": (1, 2, 3, 4, 5),
}
"""The authors' level, 0 to 10, severities 1 to 5: tenths of the black squares that are cut out."""

GREY = 128
"""What is left where a square was."""


def draw(rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet) -> Draws:
    """Draw the board: (1,) angle in radians, (1,) side of its squares in pixels, (n, n) uniform numbers, one a square.

    The squares are 0.1 to 0.25 of the longer side, at least a pixel.
    """
    angle, share = rng.uniform((0, 0.1), (2 * np.pi, 0.25))
    square = max(share * max(shape[:2]), 1.0)
    return np.array([angle]), np.array([square]), rng.random((squares(shape, square),) * 2)


def squares(shape: tuple[int, ...], square: float) -> int:
    """Give the number of squares on a side of the board: it covers the picture at any angle."""
    return int(4 * max(shape[:2]) // square)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Paint the squares grey whose number lies below the level; see ``Apply``.

    The board's middle is the picture's top left corner. Its coordinates are truncated towards zero, in the parity of a
    square after and in its number before the remainder is taken, as in the reference.

    Reference:
        Mintun, Kirillov & Xie 2021, arXiv 2102.11273; with the same draws, equal in every byte.
    """
    (angle,), (square,), numbers = draws
    chosen = numbers < at_severity(LEVEL, severity, parameters) / 10
    right, down = np.arange(image.shape[1]), np.arange(image.shape[0])[:, None]
    along = (np.cos(angle) * down + np.sin(angle) * right) / square
    across = (-np.sin(angle) * down + np.cos(angle) * right) / square
    black = (along % 2).astype(np.intp) == (across % 2).astype(np.intp)
    cut = black & chosen[along.astype(np.intp), across.astype(np.intp)]
    return np.where(cut[..., None], np.uint8(GREY), image)
