"""An engine seen through its vendor's manifest: another class order, another kind of score, a quantized input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .audit import Audit
from .protocol import Batch, Engine, EngineSpec, OutputKind, Pipelined, Watched

_TOP = 255


class AdaptedEngine:
    """An engine whose input and scores are translated; nothing that runs is changed.

    Args:
        engine: Any engine; closing this one closes it.
        output_kind: What a score is, where the file does not tell; None keeps what the engine says.
        classes: The engine's index of each class in turn; None keeps its own order.
        quantize: Take normalised float32 images and put them on the grid of the engine's 8-bit input.

    Raises:
        InputError: If ``quantize`` is asked of an engine that states no input grid, or ``output_kind`` is finer than
            the 256 levels that leave the engine.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        output_kind: OutputKind | None = None,
        classes: Sequence[int] | None = None,
        quantize: bool = False,
    ) -> None:
        spec = engine.spec
        kind = output_kind or spec.output_kind
        if spec.output_kind == "uint8-scores" != kind:
            raise InputError(f"The manifest says {kind}, but the engine's scores are uint8-scores. Correct `kind`.")
        self._engine = engine
        self._grid = _grid(spec) if quantize else None
        self._classes = None if classes is None else _selection(classes)
        self._spec = replace(
            spec,
            output_kind=kind,
            classes=spec.classes if classes is None else len(classes),
            dtype="float32" if quantize else spec.dtype,
            input_grid=None if quantize else spec.input_grid,
        )

    @property
    def spec(self) -> EngineSpec:
        """The signature as the manifest states it."""
        return self._spec

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Score a batch.

        Args:
            batch: (N, *spec.image_shape) of type ``spec.dtype``.

        Returns:
            (N, classes) float32, contiguous, in the manifest's order of classes.

        Raises:
            InputError: If shape or type differ from the spec, or the engine is closed.
        """
        return self._chosen(self._engine.infer(self._quantized(batch)))

    def audit(self) -> Audit:
        """Give the engine's own audit."""
        return self._engine.audit()

    def provenance(self) -> Mapping[str, Any]:
        """Give the engine's own provenance, with what is translated."""
        return {
            **self._engine.provenance(),
            "adapted": {"classes": self._spec.classes, "output_kind": self._spec.output_kind, "grid": self._grid},
        }

    def verify(self) -> None:
        """Let an engine that may be replaced while it is measured check that it was not.

        Raises:
            TargetChangedError: If it may have been.
        """
        if isinstance(self._engine, Watched):
            self._engine.verify()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _quantized(self, batch: Batch) -> Batch:
        if batch.dtype != self._spec.dtype:
            raise InputError(self._spec.refusal(batch))
        return batch if self._grid is None else _on_grid(batch, *self._grid)

    def _chosen(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return scores if self._classes is None else np.ascontiguousarray(scores[:, self._classes])


class AdaptedPipelinedEngine(AdaptedEngine):
    """An engine in another process, translated; it takes the next batch while it works on one."""

    def submit(self, batch: Batch) -> None:
        """Hand over a batch.

        Raises:
            InputError: If shape or type differ from the spec, the engine is closed, or too many batches are under way.
            EngineError: If the engine is gone.
        """
        self._pipelined.submit(self._quantized(batch))

    def collect(self) -> tuple[NDArray[np.float32], int]:
        """Wait for the oldest batch under way, and give its scores and the nanoseconds that they took.

        Raises:
            InputError: If no batch is under way.
            EngineError: If the engine failed; every batch under way is lost then.
        """
        scores, ns = self._pipelined.collect()
        return self._chosen(scores), ns

    @property
    def _pipelined(self) -> Pipelined:
        assert isinstance(self._engine, Pipelined)
        return self._engine


def _grid(spec: EngineSpec) -> tuple[float, int]:
    if spec.input_grid is None:
        raise InputError(
            f"The manifest normalises the input, but '{spec.input_name}' takes {spec.dtype} and states no scale to put "
            'normalised values on. Use range = "0..255".'
        )
    scale, zero_point = spec.input_grid
    return float(scale), int(zero_point)


def _selection(classes: Sequence[int]) -> slice | NDArray[np.intp]:
    """Give a slice for consecutive classes: that is one copy, not one per class."""
    first = classes[0]
    if list(classes) == list(range(first, first + len(classes))):
        return slice(first, first + len(classes))
    return np.array(classes, dtype=np.intp)


def _on_grid(batch: NDArray[Any], scale: float, zero_point: int) -> NDArray[np.uint8]:
    levels = np.rint(batch / np.float32(scale)) + np.float32(zero_point)
    return np.clip(levels, 0, _TOP).astype(np.uint8)
