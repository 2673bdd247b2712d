"""SurFree in L2 on the uint8 grid: label only, and no gradient is ever estimated."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .far import Floats, far_image, on_levels
from .walk import Part, Scene, Search

_FIRST_ANGLE = math.radians(30)
_RATIO = 0.98
_BISECTIONS = 7
_SHORTEST_ARC = 0.01
# The authors' own example; the paper's 100 would take gigabytes for a batch of 224 x 224 images.
_REMEMBERED = 10
# A direction shorter than this share of what was drawn is what float32 left of nothing.
_ROUNDING = 1e-5


def surfree(scene: Scene) -> Search:
    """Go round the original image, along circles on which every point is nearer to it than the last one.

    A circle lies in the plane of the present point and of a random direction of low frequencies, orthogonal to the
    last ones. Both ways round are tried at an angle that grows with success and shrinks without; where one fools the
    engine, the widest angle that does is found by bisection.

    Reference:
        Maho, Furon, Le Merrer 2021, arXiv 2011.12807, with T = 1 and directions from the DCT, weighted by the image's
        own spectrum, as the authors' code has them. Differences: queries are uint8 images; begins at uniform noise or
        on the line of ``start``; the bisection looks at one side only; 10 directions are kept orthogonal, not 100.
    """
    yield from scene.opening()
    original = scene.image.astype(np.float32)
    point = yield from _nearer(original, (yield from far_image(scene)))
    directions = Directions(original, scene.rng)
    angle = _FIRST_ANGLE
    while True:
        circle = Circle(original, point, directions.draw(point - original))
        found = yield from _best_angle(circle, angle)
        angle = angle * _RATIO if found is None else min(angle / _RATIO, math.pi / 2)
        if found is not None:
            point = circle.at(found)


def _nearer(original: Floats, point: Floats) -> Part[Floats]:
    """Give a point of the line to the original at which the engine is still fooled."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        answer = yield on_levels(original + np.float32(middle) * (point - original))
        low, high = (low, middle) if answer.wrong else (middle, high)
    return original + np.float32(high) * (point - original)


def _best_angle(circle: Circle, angle: float) -> Part[float | None]:
    """Give the widest angle seen to fool the engine, signed; None where neither way does."""
    for sign in (1, -1):
        answer = yield on_levels(circle.at(sign * angle))
        if answer.wrong:
            return (yield from _widened(circle, sign, angle))
    return None


def _widened(circle: Circle, sign: int, angle: float) -> Part[float]:
    low, high = angle, min(angle + angle / _RATIO, math.pi / 2)
    for _ in range(_BISECTIONS):
        if math.cos(low) - math.cos(high) <= _SHORTEST_ARC:
            break
        middle = (low + high) / 2
        answer = yield on_levels(circle.at(sign * middle))
        low, high = (middle, high) if answer.wrong else (low, middle)
    return sign * low


class Circle:
    """The circle through the original and a point, in the plane of the point and a direction.

    Args:
        original: (H, W, 3) float32.
        point: (H, W, 3) float32, at angle zero.
        direction: (H, W, 3) float32, of length 1 and orthogonal to ``point - original``.
    """

    def __init__(self, original: Floats, point: Floats, direction: Floats) -> None:
        self._original, self._step = original, point - original
        self._side = direction * np.float32(_length(self._step))

    def at(self, angle: float) -> Floats:
        """Give the point at an angle, cos(angle) times as far from the original, clipped to 0..255."""
        near, turn = math.cos(angle), math.sin(angle)
        moved = self._original + np.float32(near * near) * self._step + np.float32(near * turn) * self._side
        inside: Floats = np.clip(moved, 0, 255)
        return inside


class Directions:
    """Random directions of the image's own low frequencies, each orthogonal to the last ones.

    Args:
        original: (H, W, 3) float32 in 0..255.
        rng: The image's own stream.
    """

    def __init__(self, original: Floats, rng: np.random.Generator) -> None:
        self._rng = rng
        spectrum = dct(dct(original / np.float32(255), 0), 1)
        self._low = np.broadcast_to(low_half(*original.shape[:2])[:, :, None], original.shape)
        self._weights = np.tanh(spectrum) * self._low
        self._last: list[Floats] = []

    def draw(self, step: Floats) -> Floats:
        """Give a direction of length 1, (H, W, 3) float32, orthogonal to ``step`` and to the last ones."""
        length = _length(step)
        first = [step / np.float32(length)] if length else []
        while True:
            drawn = self._rng.integers(-1, 2, size=self._weights.shape, dtype=np.int8)
            direction = inverse_dct(inverse_dct(drawn * self._weights, 0), 1).astype(np.float32)
            before = _length(direction)
            for other in (*self._last, *first):
                direction -= np.float32((direction * other).sum(dtype=np.float64)) * other
            if (length := _length(direction)) > _ROUNDING * before:
                break
            self._make_room()
        direction /= np.float32(length)
        self._last = [*self._last, direction][-_REMEMBERED:]
        return direction

    def _make_room(self) -> None:
        """Forget a direction where those remembered leave none; a flat image has few, a black one none of its own."""
        if not self._last:
            self._weights = self._low.astype(np.float64)
        self._last = self._last[1:]


def low_half(height: int, width: int) -> NDArray[np.bool_]:
    """Mark the half of the frequencies that is lowest, diagonal by diagonal, (height, width) bool."""
    order = np.add.outer(np.arange(height), np.arange(width))
    ranks = np.argsort(np.argsort(order, axis=None, kind="stable"), kind="stable")
    marked: NDArray[np.bool_] = (ranks < max(order.size // 2, 1)).reshape(order.shape)
    return marked


def dct(values: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Give the cosine transform along an axis: y[k] = 2 sum_n x[n] cos(pi k (2n + 1) / 2N).

    By FFT and not as a product of matrices, whose last bits depend on the number of threads.
    """
    length = values.shape[axis]
    turned = np.fft.rfft(np.moveaxis(values, axis, -1), 2 * length)[..., :length] * _phases(length).conj()
    return np.moveaxis(2 * turned.real, -1, axis)


def inverse_dct(spectrum: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Give the values whose ``dct`` along an axis is ``spectrum``."""
    length = spectrum.shape[axis]
    half = np.moveaxis(spectrum, axis, -1) * _phases(length)
    return np.moveaxis(np.fft.irfft(half, 2 * length)[..., :length], -1, axis)


def _phases(length: int) -> NDArray[np.complex128]:
    phases: NDArray[np.complex128] = np.exp(1j * np.pi * np.arange(length) / (2 * length))
    return phases


def _length(step: Floats) -> float:
    return math.sqrt(float((step.astype(np.float64) ** 2).sum()))
