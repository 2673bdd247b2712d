"""The audit's result: a verdict per multiplying layer, and the share of work done in integers. No runtime here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Compute = Literal["integer", "float", "unknown"]


@dataclass(frozen=True, kw_only=True)
class LayerVerdict:
    """How the engine computes one layer that multiplies and accumulates.

    Attributes:
        name: The node's name in the source file, or its output tensor where it has none.
        operator: Operator in the source file, e.g. ``Conv``.
        kernel: Kernel the engine runs for it, e.g. ``QLinearConv``; empty where none could be matched.
        macs: Multiply-accumulates for one image, or None where a shape could not be determined.
        compute: ``integer`` only if weights and activations both enter an integer kernel.
        reason: Why the layer is not ``integer``; empty where it is.
        share_of_time: Share of the profiled time of one batch-1 inference, in [0, 1], or None where not profiled.
    """

    name: str
    operator: str
    kernel: str
    macs: int | None
    compute: Compute
    reason: str = ""
    share_of_time: float | None = None


@dataclass(frozen=True, kw_only=True)
class FloatOperator:
    """Operators without multiply-accumulates that the engine still runs on float tensors.

    Attributes:
        operator: Kernel name, e.g. ``Relu``; ``QuantizeLinear`` and ``DequantizeLinear`` are conversions.
        count: Nodes of that kind.
        share_of_time: Share of the profiled time of one batch-1 inference, in [0, 1].
    """

    operator: str
    count: int
    share_of_time: float


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What a built engine computes in integers, and why the rest is not.

    Attributes:
        backend: Runtime and mode, e.g. ``onnxruntime`` or ``onnxruntime-simulation``.
        layers: Every multiplying layer in the order of the source file.
        float_operators: Other operators on float tensors, slowest first.
        evidence: What the verdicts rest on, e.g. ``optimized graph``, ``profile``.
        notes: Doubts that a reader must see; empty where the sources agree.
        identity: Hash, versions and options of the engine that was looked at.
    """

    backend: str
    layers: Sequence[LayerVerdict]
    float_operators: Sequence[FloatOperator] = ()
    evidence: Sequence[str] = ()
    notes: Sequence[str] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, over the layers whose shapes are known."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def integer_coverage(self) -> float:
        """Share of multiply-accumulates in integer kernels, in [0, 1].

        Layers of unknown arithmetic count as not integer. If the MACs of any layer are unknown, or there is no layer,
        nothing is proven and the coverage is 0.
        """
        if self.macs == 0 or any(layer.macs is None for layer in self.layers):
            return 0.0
        return sum(layer.macs or 0 for layer in self.layers if layer.compute == "integer") / self.macs

    @property
    def provable(self) -> bool:
        """Whether anything at all is known of the arithmetic; a server or a dead engine shows nothing."""
        return self.macs > 0 or any(layer.compute != "unknown" for layer in self.layers)

    @property
    def float_layers(self) -> list[LayerVerdict]:
        """The layers that are not proven to be integer, most MACs first."""
        rest = [layer for layer in self.layers if layer.compute != "integer"]
        return sorted(rest, key=lambda layer: -(layer.macs or 0))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Audit:
        """Read back what `to_json` gave; totals are counted anew.

        Raises:
            TypeError: If a part is no object, or has another set of fields.
            KeyError: If a part is missing.
        """
        return cls(
            backend=str(document["backend"]),
            layers=[LayerVerdict(**layer) for layer in document["layers"]],
            float_operators=[FloatOperator(**operator) for operator in document["float_operators"]],
            evidence=[str(text) for text in document["evidence"]],
            notes=[str(text) for text in document["notes"]],
            identity=dict(document["identity"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Give the audit as JSON data, totals included; a coverage of which nothing is known is null."""
        return {
            "backend": self.backend,
            "integer_coverage": self.integer_coverage if self.provable else None,
            "macs": self.macs,
            "layers_integer": sum(layer.compute == "integer" for layer in self.layers),
            "layers_float": sum(layer.compute == "float" for layer in self.layers),
            "layers_unknown": sum(layer.compute == "unknown" for layer in self.layers),
            "layers": [asdict(layer) for layer in self.layers],
            "float_operators": [asdict(operator) for operator in self.float_operators],
            "evidence": list(self.evidence),
            "notes": list(self.notes),
            "identity": dict(self.identity),
        }
