"""The balls that transfer attacks stay in: how to step in each norm, and how its points reach the uint8 grid."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError, unknown
from .gradient import MAX_LEVEL, Floats, Images, TransferTask, signs, whole_levels

Norm = Literal["linf", "l2", "l1"]
_POWERS: Mapping[str, int] = MappingProxyType({"l2": 2, "l1": 1})
_STEP_SHARE = 0.075  # RobustMQ (Xiao et al. 2023, arXiv 2308.02350): PGD's step is 0.075 eps
_HALVINGS = 30
_LARGEST_MULTIPLE = 2.0**20


class Ball(Protocol):
    """The images an attacker may deliver instead of the originals."""

    @property
    def size(self) -> float:
        """Length of a step, in grey levels of the ball's norm."""

    def start(self, task: TransferTask, name: str) -> Images | Floats:
        """Draw one start per image from its own stream ``name``, uniform in the ball."""

    def step(self, images: Images | Floats, direction: Floats) -> Images | Floats:
        """Go one step of steepest ascent along ``direction``, (N, H, W, 3), and back into the ball."""

    def delivered(self, images: Images | Floats) -> Images:
        """Give the images on the uint8 grid, their distance checked in integers."""


def make_ball(originals: Images, *, eps: int, norm: Norm = "linf", alpha: int | None = None) -> Ball:
    """Give the ball of a norm around the originals.

    Args:
        originals: (N, H, W, 3) uint8.
        eps: Radius in whole grey levels of that norm: 1..255 for ``linf``; 255 times the usual [0, 1] radius for
            ``l2`` and ``l1``, so L2 2.0 is 510 and L1 400 is 102000.
        norm: ``"linf"``, ``"l2"`` or ``"l1"``.
        alpha: Step in whole grey levels of that norm. If None: a quarter of eps and at least 1 for ``linf``, 0.075
            eps for the others, as RobustMQ has it.

    Raises:
        InputError: If a value is not as stated.
    """
    if norm == "linf":
        return LinfBall(originals, whole_levels("eps", eps), alpha)
    if norm not in _POWERS:
        raise unknown("norm", norm, ["linf", *_POWERS])
    for name, value in (("eps", eps), ("alpha", 1 if alpha is None else alpha)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"Expected `{name}` as a whole number of grey levels above 0, got {value!r}.")
    return PowerBall(originals, int(eps), alpha, _POWERS[norm])


class LinfBall:
    """Every value at most eps levels away; the state is uint8 and steps are whole levels, so nothing is rounded."""

    def __init__(self, originals: Images, eps: int, alpha: int | None) -> None:
        self._originals = originals
        self._eps = eps
        self._alpha = max(1, round(eps / 4)) if alpha is None else whole_levels("alpha", alpha)
        self._low = np.maximum(originals.astype(np.int16) - eps, 0)
        self._high = np.minimum(originals.astype(np.int16) + eps, MAX_LEVEL)

    @property
    def size(self) -> float:
        """Length of a step in grey levels."""
        return self._alpha

    def start(self, task: TransferTask, name: str) -> Images:
        """Move each value by a whole number of levels, uniform on the integers of [-eps, eps]."""
        starts = np.empty(task.images.shape, dtype=np.int16)
        for start, stream in zip(starts, task.streams(name), strict=True):
            start[...] = stream.integers(-self._eps, self._eps, size=start.shape, dtype=np.int16, endpoint=True)
        return self._moved(task.images, starts)

    def step(self, images: Images | Floats, direction: Floats) -> Images:
        """Move each value by one step along the sign; a value with direction zero stays."""
        return self._moved(images, self._alpha * signs(direction))

    def delivered(self, images: Images | Floats) -> Images:
        """Give the images, which are uint8 already."""
        distance = np.abs(images.astype(np.int16) - self._originals.astype(np.int16))
        assert distance.max(initial=0) <= self._eps
        return images.astype(np.uint8)

    def _moved(self, images: Images | Floats, steps: NDArray[np.int16]) -> Images:
        moved: Images = np.clip(images.astype(np.int16) + steps, self._low, self._high).astype(np.uint8)
        return moved


class PowerBall:
    """An L2 or L1 ball. The state is float, since a step spread over a whole image is far below one level.

    What is delivered is, per image, the largest multiple of the final perturbation whose rounding lies in the ball:
    plain rounding would lose most of a perturbation of a third of a level per value.
    """

    def __init__(self, originals: Images, eps: int, alpha: int | None, power: int) -> None:
        self._originals = originals
        self._eps = eps
        self._power = power
        self._alpha = _STEP_SHARE * eps if alpha is None else float(alpha)

    @property
    def size(self) -> float:
        """Length of a step in grey levels of the norm."""
        return self._alpha

    def start(self, task: TransferTask, name: str) -> Floats:
        """Draw a point of the ball, uniform in it, then go into 0..255.

        Reference:
            Barthe et al. 2005, Annals of Probability 33(2), Theorem 1: the direction of independent exponential-power
            values, at radius U ** (1 / d).
        """
        starts = np.empty(task.images.shape)
        for start, stream in zip(starts, task.streams(name), strict=True):
            draw = stream.normal if self._power == 2 else stream.laplace
            values = draw(size=start.shape)
            radius = self._eps * stream.random() ** (1 / start.size)
            start[...] = values * (radius / _norms(values[None], self._power)[0])
        return self._inside(self._originals + starts)

    def step(self, images: Images | Floats, direction: Floats) -> Floats:
        """Go along the direction, scaled to the step's length, then scale back onto the ball where it is left."""
        lengths = _norms(direction, self._power)
        scale = np.divide(self._alpha, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return self._inside(images + direction * scale.reshape(-1, 1, 1, 1))

    def delivered(self, images: Images | Floats) -> Images:
        """Round inside the ball, image by image."""
        rounded = [self._rounded(*pair) for pair in zip(images, self._originals, strict=True)]
        return np.stack(rounded) if rounded else self._originals.copy()

    def _inside(self, images: Floats) -> Floats:
        clipped = np.clip(images, 0, MAX_LEVEL)
        delta = clipped - self._originals
        lengths = _norms(delta, self._power)
        scale = np.divide(self._eps, lengths, out=np.ones_like(lengths), where=lengths > self._eps)
        inside: Floats = self._originals + delta * scale.reshape(-1, 1, 1, 1)
        return inside

    def _rounded(self, image: NDArray[Any], original: Images) -> Images:
        whole = original.astype(np.int64)
        delta = image.astype(np.float64) - whole

        def multiple(factor: float) -> NDArray[np.int64]:
            found: NDArray[np.int64] = np.clip(whole + np.rint(factor * delta).astype(np.int64), 0, MAX_LEVEL)
            return found

        def fits(factor: float) -> bool:
            moved = np.abs(multiple(factor) - whole)
            return bool((moved**self._power).sum() <= self._eps**self._power)

        low, high = 0.0, 1.0
        while high < _LARGEST_MULTIPLE and fits(high):
            low, high = high, 2 * high
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        assert fits(low)
        return multiple(low).astype(np.uint8)


def _norms(values: NDArray[Any], power: int) -> NDArray[np.float64]:
    """Give each image's L2 or L1 norm, (N,) float64; summed image by image, so that the batch changes no bit."""
    rows = np.abs(values.reshape(len(values), -1).astype(np.float64)) if values.size else np.zeros((len(values), 0))
    sums = np.array([float((row**power).sum()) for row in rows], dtype=np.float64)
    return sums ** (1 / power)
