"""P-RGF on the uint8 grid: random probes for the gradient, which lean on a surrogate's direction where it is good."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .far import Floats, on_levels
from .margins import MarginReader
from .reach import bounds
from .walk import Part, Scene, Search

_PROBES = 10
_STEPS_PER_NORM = 5
# In grey levels; a probe of less than one would be rounded away.
_SIGMA = np.float32(2)
_DECAY = np.float32(0.9)


def prgf(scene: Scene) -> Search:
    """Climb along an estimated gradient, whose probes lean on the direction in which ``start`` lies.

    How far they lean on it is the optimum for the slope measured along it; without a start none do. Probes may lie
    outside the ball, where they are no success; steps do not.

    Reference:
        Cheng, Dong, Pang, Su, Zhu 2019, arXiv 1906.06919, Algorithm 1 with eq. 13 for lambda, and the norm of the
        gradient from 10 probes at every fifth step, as in the authors' code. Differences: the prior is that of the
        clean image, the transfer example's direction, at every step; probes of 2 grey levels, steps of a quarter of
        eps, at least one level, with momentum 0.9; no data-dependent prior; the margin instead of the cross-entropy.
    """
    clean, started = yield from scene.opening()
    low, high = bounds(scene.image, scene.eps)
    point, prior = scene.image, np.zeros(scene.image.shape, dtype=np.float32)
    if scene.start is not None:
        point, prior = scene.start, unit(scene.start.astype(np.float32) - scene.image)
    gradient = _Gradient(MarginReader(scene.goal), scene.rng)
    gradient.reader.read(clean)
    margin = gradient.reader.read(clean if started is None else started)
    momentum, step = np.zeros_like(prior), 0
    while True:
        if step % _STEPS_PER_NORM == 0:
            yield from gradient.measure_norm(point, margin)
        momentum = _DECAY * momentum + unit((yield from gradient.estimate(point, margin, prior)))
        moved = point - np.float32(max(1, scene.eps // 4)) * np.sign(momentum)
        point = np.clip(moved, low, high).astype(np.uint8)
        margin = gradient.reader.read((yield point))
        step += 1


class _Gradient:
    def __init__(self, reader: MarginReader, rng: np.random.Generator) -> None:
        self.reader = reader
        self._rng = rng
        self._square = 0.0

    def measure_norm(self, point: NDArray[np.uint8], margin: float) -> Part[None]:
        """Measure the squared norm of the gradient: the mean square of slopes along random directions of RMS 1."""
        squares = []
        for _ in range(_PROBES):
            slope = yield from self._slope(point, margin, self._random(point.shape))
            squares.append(slope * slope)
        self._square = sum(squares) / _PROBES

    def estimate(self, point: NDArray[np.uint8], margin: float, prior: Floats) -> Part[Floats]:
        """Estimate the direction of the gradient, (H, W, 3) float32."""
        lean = 0.0
        if prior.any() and self._square:
            along = yield from self._slope(point, margin, prior)
            lean = best_lean(along / (point.size * self._square) ** 0.5, point.size, _PROBES)
            if lean == 1:
                return prior * np.float32(np.sign(along))
        total = np.zeros(point.shape, dtype=np.float32)
        for _ in range(_PROBES):
            probe = leaning(self._random(point.shape), prior, lean)
            slope = yield from self._slope(point, margin, probe)
            total += np.float32(slope) * probe
        return total

    def _slope(self, point: NDArray[np.uint8], margin: float, direction: Floats) -> Part[float]:
        answer = yield on_levels(np.clip(point + _SIGMA * direction, 0, 255))
        return (self.reader.read(answer) - margin) / float(_SIGMA)

    def _random(self, shape: tuple[int, ...]) -> Floats:
        return unit(self._rng.standard_normal(shape, dtype=np.float32))


def unit(step: Floats) -> Floats:
    """Give a direction scaled to a root mean square of 1; zero stays zero."""
    square = float((step.astype(np.float64) ** 2).mean())
    return step / np.float32(square**0.5) if square else step


def leaning(random: Floats, prior: Floats, lean: float) -> Floats:
    """Give a direction of RMS 1 whose square lies to the share ``lean`` along the prior, for the rest across it."""
    if not lean:
        return random
    across = unit(random - np.float32((random * prior).mean(dtype=np.float64)) * prior)
    return np.float32(lean**0.5) * prior + np.float32((1 - lean) ** 0.5) * across


def best_lean(cosine: float, size: int, probes: int) -> float:
    """Give the share of each probe that should lie along the prior, lambda of eq. 13.

    Args:
        cosine: Cosine of the angle between the gradient and the prior.
        size: Number of values of an image.
        probes: Number of probes that the gradient is estimated from.

    Returns:
        0 for a prior no better than chance, 1 for one that no probes can improve on.

    Example:
        >>> best_lean(0.0, 3072, 10), best_lean(0.5, 3072, 10)
        (0.0, 1.0)
    """
    square, spread = cosine * cosine, size + 2 * probes - 2
    if square * spread <= 1:
        return 0.0
    if square * spread >= 2 * probes - 1:
        return 1.0
    return (1 - square) * (square * spread - 1) / (2 * square * size * probes - square * square * size * spread - 1)
