"""Notices that a server's model was replaced: fixed probe images, asked at the beginning and again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, TargetChangedError
from .protocol import Batch, EngineSpec
from .remote_tensors import changed

Floats = NDArray[np.float32]
Ask = Callable[[Batch], Floats]

PROBES = 4
EVERY_IMAGES = 2048
_CELLS = 4
_OPENING_PASSES = 3
# Kernels that sum in another order differ by 1e-6 of the largest score, a requantized model by 1e-2.
_LEAST_TOLERANCE = 1e-4
_TIMES_SPREAD = 8


def probe_images(spec: EngineSpec) -> Batch:
    """Give the probes: coarse coloured patches with a little noise, the same for every run.

    Returns:
        (N, *spec.image_shape) of type ``spec.dtype``, N the engine's fixed batch or a few; floats lie in [-2, 2].
    """
    rng = np.random.default_rng(20261121)
    count, sides = PROBES, (spec.height, spec.width)
    patches = rng.uniform(0, 255, (count, _CELLS, _CELLS, spec.channels))
    rows, columns = (np.arange(side) * _CELLS // side for side in sides)
    levels = patches[:, rows[:, None], columns] + rng.normal(0, 16, (count, *sides, spec.channels))
    images = np.clip(levels, 0, 255).astype(np.uint8)
    if spec.layout == "nchw":
        images = images.transpose(0, 3, 1, 2)
    images = np.ascontiguousarray(np.resize(images, (spec.fixed_batch or count, *spec.image_shape)))
    return images if spec.dtype == "uint8" else (images / np.float32(63.75) - 2).astype(np.float32)


class Watch:
    """Compares a server's answers to the probes with those at the beginning.

    Answers may wander by a tolerance, for servers that do not compute the same bits twice: eight times what they
    wandered at the beginning, at least 1e-4 of the largest score. The first-ranked class of every probe must stay
    where its lead is larger than that.

    Attributes:
        answers: (N, classes) float32, the answers at the beginning.
        checks: Comparisons made so far.
    """

    def __init__(self, ask: Ask, probes: Batch, *, where: str, every: int) -> None:
        """Ask for the first answers.

        Raises:
            InputError: If they are not finite.
            RobustMQError: If the server fails.
        """
        self._ask, self._probes, self._where, self._every = ask, probes, where, every
        passes = [ask(probes) for _ in range(_OPENING_PASSES)]
        self.answers = passes[0]
        if not all(np.isfinite(answers).all() for answers in passes):
            raise InputError(
                f"{where} gives scores that are not finite for ordinary images. Check its model and input range."
            )
        spread = max(float(np.abs(answers - self.answers).max()) for answers in passes)
        self._exact = spread == 0
        self._tolerance = max(_TIMES_SPREAD * spread, _LEAST_TOLERANCE * float(np.abs(self.answers).max()))
        self._unchecked = 0
        self._failure: TargetChangedError | None = None
        self.checks = 0

    @property
    def digest(self) -> str:
        """SHA-256 of the first answers: of their bits where the server repeats them, else of the classes they name."""
        kept = self.answers.astype("<f4") if self._exact else self.answers.argmax(axis=1).astype("<i8")
        return hashlib.sha256(kept.tobytes()).hexdigest()

    def stop_if_changed(self) -> None:
        """Refuse all further work once a change was seen.

        Raises:
            TargetChangedError: If one was.
        """
        if self._failure is not None:
            raise self._failure

    def note(self, images: int, *, doubtful: bool) -> None:
        """Count scored images, and look at the probes when it is time.

        Args:
            images: Images scored since the last call.
            doubtful: Whether something happened, such as a broken connection, after which another model may answer.

        Raises:
            TargetChangedError: If the model has changed.
        """
        self._unchecked += images
        if doubtful or self._unchecked >= self._every:
            self.verify()

    def fail(self, failure: TargetChangedError) -> None:
        """Remember a change that was seen elsewhere."""
        self._failure = failure

    def verify(self) -> None:
        """Compare the probes' answers with the first ones, if any image was scored since the last comparison.

        Raises:
            TargetChangedError: If the model has changed.
            RobustMQError: If the server fails.
        """
        self.stop_if_changed()
        if self._unchecked == 0:
            return
        answers = self._ask(self._probes)
        self.checks += 1
        with np.errstate(invalid="ignore"):
            distance = float(np.abs(answers - self.answers).max())
        if not distance <= self._tolerance:  # NaN is a change too
            self._failure = changed(
                self._where,
                f"the scores of {len(self._probes)} probe images moved by {distance:.3g}, where "
                f"{self._tolerance:.3g} is tolerated",
            )
            raise self._failure
        self._unchecked = 0
