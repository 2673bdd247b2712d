"""HopSkipJump in L-inf on the uint8 grid: label only, kept as the historical anchor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .far import far_image, on_levels
from .protocol import Image
from .walk import Part, Scene, Search

Floats = NDArray[np.float32]
_FIRST_PROBES = 20
_MOST_PROBES = 200
_TOLERANCE = 0.25
# A probe below one grey level is rounded away, so none is shorter.
_SHORTEST_PROBE = 1.0


def hopskipjump(scene: Scene) -> Search:
    """Walk along the decision boundary by gradients estimated from labels of random probes.

    With a start the search begins on the line through it.

    Reference:
        Chen, Jordan, Wainwright 2020, arXiv 1904.02144, Algorithms 1 and 2, eq. 9, 12 and 16. Differences: queries are
        uint8 images; probes move each value by one grey level or more, since the paper's step of dist / d is rounded
        away; the bisection ends at a quarter of a level; 20 sqrt(t) probes instead of 100 sqrt(t), for small budgets.
    """
    yield from scene.opening()
    boundary = _Boundary(scene.image, scene.rng)
    point = yield from far_image(scene)
    point = yield from boundary.bisected(point)
    step = 0
    while True:
        step += 1
        direction = yield from boundary.gradient(point, min(int(_FIRST_PROBES * step**0.5), _MOST_PROBES))
        length = boundary.distance(point) / step**0.5
        for _ in range(8):
            moved = np.clip(point + np.float32(length) * direction, 0, 255)
            answer = yield on_levels(moved)
            if answer.wrong:
                point = yield from boundary.bisected(moved)
                break
            length /= 2


class _Boundary:
    def __init__(self, image: Image, rng: np.random.Generator) -> None:
        self._original = image.astype(np.float32)
        self._rng = rng

    def bisected(self, point: Floats) -> Part[Floats]:
        """Give the nearest image of another class in the ball that shrinks towards the original."""
        low, high = 0.0, self.distance(point)
        best = point
        while high - low > _TOLERANCE:
            middle = (low + high) / 2
            nearer: Floats = np.clip(point, self._original - np.float32(middle), self._original + np.float32(middle))
            answer = yield on_levels(nearer)
            if answer.wrong:
                high, best = middle, nearer
            else:
                low = middle
        return best

    def gradient(self, point: Floats, count: int) -> Part[Floats]:
        """Give the signs of the boundary's normal, from which side of it random probes fall on."""
        size = max(_SHORTEST_PROBE, self.distance(point) / 16)
        total = np.zeros(point.shape, dtype=np.float32)
        plain = np.zeros(point.shape, dtype=np.float32)
        wrong = 0
        for _ in range(count):
            probe = np.where(self._rng.random(point.shape, dtype=np.float32) < 0.5, np.float32(-1), np.float32(1))
            answer = yield on_levels(np.clip(point + np.float32(size) * probe, 0, 255))
            plain += probe
            if answer.wrong:
                total += probe
                wrong += 1
        # Eq. 16 of the paper: the mean of the answers is taken off, which halves the variance near the boundary.
        share = np.float32(2 * wrong / count - 1)
        estimate = 2 * total - plain - share * plain if 0 < wrong < count else (plain if wrong else -plain)
        direction: Floats = np.sign(estimate)
        return direction

    def distance(self, point: Floats) -> float:
        return float(np.abs(point - self._original).max())
