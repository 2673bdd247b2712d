"""NES on the uint8 grid: signed steps along a gradient estimated from pairs of random probes, kept as an anchor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .margins import MarginReader
from .protocol import Image
from .reach import bounds
from .walk import Scene, Search

_PAIRS = 10
# In grey levels: the paper's 0.001 of 1 is a quarter of a level, which uint8 rounds away.
_SIGMA = 2.0
_DECAY = np.float32(0.9)


def nes(scene: Scene) -> Search:
    """Climb along the gradient of a smoothed margin, in whole grey levels.

    Reference:
        Ilyas, Engstrom, Athalye, Lin 2018, arXiv 1804.08598, Algorithm 1 with antithetic probes and momentum 0.9.
        Differences: probes of 2 grey levels, 10 pairs per step instead of 25, steps of a quarter of eps, at least one
        level; the margin instead of the probability.
    """
    yield from scene.opening()
    low, high = bounds(scene.image, scene.eps)
    image = scene.image if scene.start is None else scene.start
    reader = MarginReader(scene.goal)
    momentum = np.zeros(image.shape, dtype=np.float32)
    while True:
        gradient = np.zeros(image.shape, dtype=np.float32)
        for _ in range(_PAIRS):
            probe = np.rint(_SIGMA * scene.rng.standard_normal(image.shape, dtype=np.float32))
            above = yield _clipped(image + probe, low, high)
            margin = reader.read(above)
            below = yield _clipped(image - probe, low, high)
            gradient += np.float32(margin - reader.read(below)) * probe
        momentum = _DECAY * momentum + (1 - _DECAY) * gradient
        image = _clipped(image - max(1, scene.eps // 4) * np.sign(momentum), low, high)
        yield image


def _clipped(pixels: NDArray[np.float32], low: Image, high: Image) -> Image:
    clipped: Image = np.clip(pixels, low, high).astype(np.uint8)
    return clipped
