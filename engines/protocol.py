"""What every backend offers: its signature, inference, the audit, its provenance. No backend lives here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .audit import Audit

Layout = Literal["nchw", "nhwc"]
InputType = Literal["float32", "float16", "uint8"]
OutputKind = Literal["logits", "probabilities", "uint8-scores"]
Batch = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """The signature of a classifier as the runtime reports it.

    Attributes:
        input_name: Name of the one input tensor.
        height: Rows of the input image.
        width: Columns of the input image.
        channels: 3 for colour, 1 for grey.
        layout: ``nchw`` or ``nhwc``.
        dtype: Type the input tensor must have, ``float32``, ``float16`` or ``uint8``.
        fixed_batch: The only batch size the file allows, or None where any is allowed.
        classes: Number of scores per image.
        output_kind: What a score is; ``uint8-scores`` are scores on 256 levels, handed out as float32.
        input_grid: Step and zero point of a ``uint8`` input: value v stands for (v - zero point) * step; None where the
            file states none.
    """

    input_name: str
    height: int
    width: int
    channels: int
    layout: Layout
    dtype: InputType
    fixed_batch: int | None
    classes: int
    output_kind: OutputKind
    input_grid: tuple[float, int] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image in the engine's own layout."""
        if self.layout == "nchw":
            return (self.channels, self.height, self.width)
        return (self.height, self.width, self.channels)

    def refusal(self, batch: NDArray[Any]) -> str:
        """Give the sentence that refuses a batch of another shape or type."""
        size = "N" if self.fixed_batch is None else str(self.fixed_batch)
        shape = ", ".join((size, *(str(side) for side in self.image_shape)))
        return f"Expected a batch ({shape}) of {self.dtype} with N >= 1, got {batch.shape} of {batch.dtype}."

    def to_json(self) -> dict[str, Any]:
        """Give the signature as JSON data."""
        return asdict(self)


@runtime_checkable
class Engine(Protocol):
    """A classifier that a runtime executes. Nothing above this line knows which runtime."""

    @property
    def spec(self) -> EngineSpec:
        """The engine's signature."""

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Score a batch.

        Args:
            batch: (N, *spec.image_shape) of type ``spec.dtype``, already normalised; N equals ``spec.fixed_batch``
                where that is set.

        Returns:
            (N, classes) float32, contiguous. Values that are not finite are handed out as they are.

        Raises:
            InputError: If shape or type differ from the spec, or the engine is closed.
        """

    def audit(self) -> Audit:
        """Prove, layer by layer, what the built engine computes in integers."""

    def provenance(self) -> Mapping[str, Any]:
        """Say as JSON data what runs here: backend, versions, provider, threads, file hash."""

    def close(self) -> None:
        """Free the runtime's memory; a second call does nothing."""


@runtime_checkable
class Watched(Protocol):
    """An engine that somebody else may replace while it is measured, such as a model on a server."""

    def verify(self) -> None:
        """Check that the scores since the last check came from what was opened.

        Raises:
            TargetChangedError: If they may not have.
        """


@runtime_checkable
class Pipelined(Protocol):
    """An engine in another process: it takes the next batch while it works on one."""

    def submit(self, batch: Batch) -> None:
        """Hand over a batch; at most two may be under way.

        Args:
            batch: As for ``Engine.infer``.

        Raises:
            InputError: If shape or type differ from the spec, the engine is closed, or two batches are under way.
            EngineError: If the engine is gone.
        """

    def collect(self) -> tuple[NDArray[np.float32], int]:
        """Wait for the oldest batch under way.

        Returns:
            Its scores as ``Engine.infer`` gives them, and the nanoseconds that the engine computed.

        Raises:
            InputError: If no batch is under way.
            EngineError: If the engine failed; every batch under way is lost then.
        """
