"""Noise: corners of the ball drawn blindly, the baseline that an attack has to beat."""

from __future__ import annotations

import numpy as np

from .reach import bounds, chosen, signs_of
from .walk import Scene, Search


def noise(scene: Scene) -> Search:
    """Move every value by +eps or -eps at random, another draw for each query; no answer is listened to.

    Reference:
        Carlini et al. 2019, arXiv 1902.06705, section 4.3: an attack that finds no more than random search is broken.
    """
    yield from scene.opening()
    low, high = bounds(scene.image, scene.eps)
    while True:
        up = scene.rng.integers(2, size=scene.image.shape, dtype=np.bool_)
        yield chosen(signs_of(up), low, high)
