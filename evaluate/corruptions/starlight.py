"""The light of a star with rays of random lengths, which sparkles are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST_RAYS, MOST_RAYS = 50, 199
SPREAD = 0.25
"""Standard deviation of the rays' lengths, as a share of their mean."""


def draw_rays(rng: np.random.Generator, stars: int) -> tuple[NDArray[np.int64], Floats]:
    """Draw the number of each star's rays, (stars,) in 50..199, and (stars, 199) standard normal numbers.

    A star with n rays uses the first n numbers.
    """
    return rng.integers(FEWEST_RAYS, MOST_RAYS, stars, endpoint=True), rng.standard_normal((stars, MOST_RAYS))


def starlight(shape: tuple[int, ...], middle: Sequence[float], lengths: Floats, power: float) -> Floats:
    """Tell how much of its light a star gives to each pixel.

    Between two rays the length is interpolated; light falls with the distance over the length to the power
    ``-2 power``, and is strongest in the middle between rays.

    Args:
        shape: (H, W, ...).
        middle: The star, in pixels down and to the right.
        lengths: (n,) pixels, n at least 2.
        power: 0 or more.

    Returns:
        (H, W) float64 in [0, 1].
    """
    down, right = np.arange(shape[0])[:, None] - middle[0], np.arange(shape[1]) - middle[1]
    turn = (np.arctan2(right, down) + np.pi) / (2 * np.pi) * len(lengths)
    ray = turn.astype(np.intp)
    turn -= ray
    closed = np.append(lengths, lengths[:2])  # a full turn ends one ray after the last
    length = closed.take(ray) + turn * np.diff(closed).take(ray)
    light: Floats = (length**2 / (down**2 + right**2 + 1e-4)) ** power
    light *= 1 - (turn - 0.5) ** 2
    return np.minimum(light, 1, out=light)
