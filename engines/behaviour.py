"""What an engine's answers give away about its arithmetic, where its kernels can't be looked at. Evidence, no proof."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .protocol import Engine

_MOST_LEVELS = 256
_PUSHES = (2.0**10, 2.0**12)  # of the input's own scale; no calibrated range reaches as far
_ENOUGH_SCORES = 1024  # fewer say nothing about 256 levels


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two engines answer alike.

    Attributes:
        images: Number of images.
        flips: Images with another first-ranked class.
        max_delta: Largest absolute difference of two scores, in the scores' unit.
        mean_delta: Mean absolute difference.
        spread: Standard deviation of the first engine's scores, to hold the differences against.
    """

    images: int
    flips: int
    max_delta: float
    mean_delta: float
    spread: float

    def to_json(self) -> dict[str, Any]:
        """Give the figures as JSON data; those of scores that are not finite become null."""
        return {key: value if np.isfinite(value) else None for key, value in asdict(self).items()}

    def sentence(self) -> str:
        """Give the figures as one line."""
        return (
            f"{self.flips} of {self.images} answers differ, max |score difference| {self.max_delta:.3g}, mean "
            f"{self.mean_delta:.3g}, spread of the scores {self.spread:.3g}"
        )


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What was seen from outside.

    Attributes:
        input_saturates: Whether inputs far beyond any calibrated range give bit for bit the same scores, as a quantized
            input does; None where the input is not float32, or the scores end at 0 and 1 anyway.
        output_levels: Distinct values among the scores.
        scores: Number of scores looked at.
        agreement: With the simulation, on plain images; None without one.
        saturated: With the simulation, on images pushed beyond the range; None without one or where it can't be done.
    """

    input_saturates: bool | None
    output_levels: int
    scores: int
    agreement: Agreement | None = None
    saturated: Agreement | None = None

    @property
    def output_quantized(self) -> bool | None:
        """Whether the scores take no more values than 8 bits have; None where too few were looked at."""
        return None if self.scores < _ENOUGH_SCORES else self.output_levels <= _MOST_LEVELS

    def sentences(self) -> list[str]:
        """Word what was seen; none of it is called a proof."""
        clips = {True: "inputs beyond the range are clipped", False: "inputs beyond the range are not clipped"}
        found = [f"behaviour: {clips[self.input_saturates]}"] if self.input_saturates is not None else []
        found.append(f"behaviour: {self.output_levels} distinct values among {self.scores} scores")
        if self.agreement is not None:
            found.append(f"against the simulation: {self.agreement.sentence()}")
        if self.saturated is not None:
            found.append(f"against the simulation, beyond the range: {self.saturated.sentence()}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Give what was seen as JSON data."""
        compared = {"agreement": self.agreement, "saturated": self.saturated}
        return {
            **asdict(self),
            **{name: None if found is None else found.to_json() for name, found in compared.items()},
            "output_quantized": self.output_quantized,
        }


def observe(engine: Engine, batch: NDArray[Any], simulation: Engine | None = None) -> Behaviour:
    """Look at an engine from outside.

    A float network that clips inside (ReLU6) saturates too, and a quantized one may have a float output: read the
    figures together, and beside those of the simulation.

    Args:
        engine: Any engine.
        batch: (N, *spec.image_shape) of the engine's type; N * classes of 1024 or more say most.
        simulation: An engine with Q/DQ in float that takes the same batch, or None.
    """
    scores = score_all(engine, batch)
    pushed = _pushed(engine, batch)
    ends = engine.spec.output_kind == "probabilities"
    return Behaviour(
        input_saturates=None if not pushed or ends else _same_scores(engine, pushed),
        output_levels=len(np.unique(scores)),
        scores=int(scores.size),
        agreement=None if simulation is None else compare(scores, score_all(simulation, batch)),
        saturated=None
        if simulation is None or not pushed
        else compare(score_all(engine, pushed[0]), score_all(simulation, pushed[0])),
    )


def compare(scores: NDArray[np.float32], others: NDArray[np.float32]) -> Agreement:
    """Compare the scores of two engines for the same images.

    Args:
        scores: (N, classes).
        others: (N, classes).
    """
    with np.errstate(invalid="ignore"):  # infinite scores have no difference
        delta, spread = np.abs(scores.astype(np.float64) - others), float(scores.std())
    return Agreement(
        images=len(scores),
        flips=int((scores.argmax(axis=1) != others.argmax(axis=1)).sum()),
        max_delta=float(delta.max()),
        mean_delta=float(delta.mean()),
        spread=spread,
    )


def score_all(engine: Engine, batch: NDArray[Any]) -> NDArray[np.float32]:
    """Score any number of images, also by an engine of one batch size.

    Args:
        engine: Any engine.
        batch: (N, *spec.image_shape) of the engine's type, N >= 1.

    Returns:
        (N, classes) float32.
    """
    fixed = engine.spec.fixed_batch
    if fixed is None:
        return engine.infer(batch)
    padded = np.resize(batch, (-(-len(batch) // fixed) * fixed, *batch.shape[1:]))
    parts = [engine.infer(padded[start : start + fixed]) for start in range(0, len(padded), fixed)]
    return np.concatenate(parts)[: len(batch)]


def _pushed(engine: Engine, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Push every value away from zero, so far that a quantized input clips all of them alike."""
    if engine.spec.dtype != "float32":
        return []
    signs = np.where(batch < 0, -1, 1).astype(np.float32)
    scale = float(np.abs(batch).max()) or 1.0
    return [np.ascontiguousarray(signs * np.float32(scale * push)) for push in _PUSHES]


def _same_scores(engine: Engine, pushed: list[NDArray[np.float32]]) -> bool:
    near, far = (score_all(engine, batch) for batch in pushed)
    return bool(np.array_equal(near, far))
