"""An engine under test together with what its answers depend on, and its plain answers to images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import EngineError, RobustMQError
from ..engines.protocol import Batch, Engine, Watched
from ..inputs.pipeline import Pipeline

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One engine of a run.

    Attributes:
        name: What the records call it.
        engine: The opened engine.
        pipeline: Turns stored images into the engine's input.
        identity: What its answers depend on (file hash, backend, version, threads), as JSON data.
        batch: Images in one call of the engine.
        pad: Whether every call is filled up to ``batch``, for engines whose answers depend on the batch size.
    """

    name: str
    engine: Engine
    pipeline: Pipeline
    identity: Mapping[str, Any]
    batch: int = 32
    pad: bool = False

    @property
    def key(self) -> dict[str, Any]:
        """What the records of a cell depend on that this target answers, as JSON data."""
        return {
            "name": self.name,
            "identity": dict(self.identity),
            "pipeline": self.pipeline.to_json(),
            "batch": self.batch,
            "pad": self.pad,
        }


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The production answers to some images; all arrays are (N,).

    Attributes:
        prediction: int64, argmax of the raw scores, the lowest index on ties.
        tied: bool, whether the highest score was shared.
        finite: bool, whether all scores were finite; without that there is no answer.
    """

    prediction: NDArray[np.int64]
    tied: NDArray[np.bool_]
    finite: NDArray[np.bool_]

    def right(self, labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Tell which images are answered by their labels, (N,); without finite scores none is."""
        found: NDArray[np.bool_] = self.finite & (self.prediction == labels)
        return found

    @property
    def flags(self) -> tuple[str, ...]:
        """The flag of a number that counts these answers, if there is an image without one."""
        return not_finite(self.finite)


def not_finite(finite: NDArray[np.bool_]) -> tuple[str, ...]:
    """Flag a number over images whose scores are not all finite.

    Args:
        finite: (N,) whether an image's scores were finite.
    """
    return () if finite.all() else (f"{np.sum(~finite)} of {finite.size} images without finite scores",)


def answer(target: Target, images: Images) -> Answers:
    """Ask the engine for its answers at its deployment batch.

    Args:
        target: The engine with its pipeline.
        images: (N, H, W, 3) uint8 at model size, N >= 1.

    Raises:
        EngineError: If the engine fails.
    """
    return answers(scores(target, images))


def answers(found: Floats) -> Answers:
    """Read the answers off raw scores, (N, classes) float32."""
    finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(found), axis=1)
    top = found.max(axis=1, keepdims=True)
    return Answers(
        prediction=found.argmax(axis=1).astype(np.int64),
        tied=(found == top).sum(axis=1) > 1,
        finite=finite,
    )


def scores(target: Target, images: Images) -> Floats:
    """Give the engine's raw scores at its deployment batch, (N, classes) float32.

    Args:
        target: The engine with its pipeline.
        images: (N, H, W, 3) uint8 at model size, N >= 1.

    Raises:
        EngineError: If the engine raised, or gave scores of another shape than one row per image.
        TargetChangedError: If the engine is found to be another one than at the beginning.
    """
    return np.concatenate(
        [_scores(target, images[start : start + target.batch]) for start in range(0, len(images), target.batch)]
    )


def verify(target: Target) -> None:
    """Check that what answered is what was opened, where somebody else may replace it, as on a server.

    Raises:
        TargetChangedError: If it may be another one.
        EngineError: If it cannot be asked.
    """
    if isinstance(target.engine, Watched):
        target.engine.verify()


def _scores(target: Target, images: Images) -> Floats:
    count = len(images)
    if target.pad and count < target.batch:
        filling = np.broadcast_to(images[:1], (target.batch - count, *images.shape[1:]))
        images = np.concatenate([images, filling])
    return infer(target, target.pipeline.tensor(images))[:count]


def infer(target: Target, tensor: Batch) -> Floats:
    """Give the engine's raw scores of one call, (N, classes) float32.

    Args:
        target: The engine.
        tensor: (N, ...) what its pipeline makes of N images.

    Raises:
        EngineError: If the engine raised, or gave scores of another shape than one row per image.
        TargetChangedError: If the engine is found to be another one than at the beginning.
    """
    try:
        found = target.engine.infer(tensor)
    except RobustMQError:
        raise
    except Exception as error:  # whatever a runtime raises is an engine that failed
        raise EngineError(f"{type(error).__name__}: {error}") from error
    if found.ndim != 2 or len(found) != len(tensor):
        raise EngineError(f"The engine gave scores of shape {found.shape} for {len(tensor)} images.")
    return found
