"""What the linter's rules look at: a file's nodes, constants, shapes, and what each Q and DQ means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, shape_inference

from .graph import attribute
from .shapes import Dims, shape_table
from .wiring import QDQ, Wiring, operand

UNDEFINED = TensorProto.UNDEFINED


@dataclass(frozen=True, kw_only=True)
class Step:
    """One QuantizeLinear or DequantizeLinear, of whatever domain.

    Attributes:
        node: The node.
        weight: Whether its data are constants, directly or through the Q before it.
        kind: Element type of its codes, as in TensorProto.
        typed: Whether the file says that type; a Q may leave it to the standard's default.
        scale: Its scale, or None where it is computed.
        zero: Its zero point, or None where it has none or computes it.
    """

    node: onnx.NodeProto
    weight: bool
    kind: int
    typed: bool
    scale: NDArray[Any] | None
    zero: NDArray[Any] | None

    @property
    def quantizes(self) -> bool:
        """Tell a Q from a DQ."""
        return self.node.op_type == "QuantizeLinear"

    @property
    def type_name(self) -> str:
        """Give the element type in the standard's words, in lower case."""
        return str(TensorProto.DataType.Name(self.kind)).lower()


@dataclass(frozen=True, kw_only=True)
class View:
    """A file as the rules see it.

    Attributes:
        graph: The main graph.
        wiring: Its writers and readers.
        shapes: The shapes that are known, by tensor.
        steps: Every Q and DQ by its output's name, in the graph's order.
    """

    graph: onnx.GraphProto
    wiring: Wiring
    shapes: dict[str, Dims]
    steps: dict[str, Step]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> View:
        """Look a model over."""
        wiring = Wiring.of(model.graph)
        steps: dict[str, Step] = {}
        for node in model.graph.node:
            if node.op_type in QDQ:
                steps[node.output[0]] = _step(wiring, node, steps)
        return cls(graph=model.graph, wiring=wiring, shapes=_shapes(model), steps=steps)

    def dequantized(self, name: str) -> Step | None:
        """Give the DQ that writes a tensor, or None."""
        step = self.steps.get(name)
        return None if step is None or step.quantizes else step

    def origin(self, step: Step) -> Step | None:
        """Give the Q that writes a DQ's codes, through integer Clips, or None."""
        name = operand(step.node, 0)
        while (clip := self.wiring.producer(name, "Clip")) is not None:
            name = clip.input[0]
        before = self.steps.get(name)
        return before if before is not None and before.quantizes else None

    def first_steps(self) -> Iterator[Step]:
        """Yield each quantization once: every Q, and the DQs that no Q feeds."""
        yield from (step for step in self.steps.values() if step.quantizes or self.origin(step) is None)


def node_name(node: onnx.NodeProto) -> str:
    """Give what a user finds the node by."""
    return node.name or (node.output[0] if node.output else node.op_type)


def _step(wiring: Wiring, node: onnx.NodeProto, steps: dict[str, Step]) -> Step:
    before = steps.get(operand(node, 0))
    data, zero = wiring.stored.get(operand(node, 0)), wiring.stored.get(operand(node, 2))
    kind = zero.data_type if zero is not None else _declared(node, data, before)
    return Step(
        node=node,
        weight=data is not None or (before is not None and before.weight),
        kind=kind or TensorProto.UINT8,
        typed=kind != UNDEFINED,
        scale=wiring.constant(operand(node, 1)),
        zero=wiring.constant(operand(node, 2)),
    )


def _declared(node: onnx.NodeProto, data: onnx.TensorProto | None, before: Step | None) -> int:
    """Give the type of the codes of a node without zero point; UNDEFINED where only the default says it."""
    if node.op_type == "QuantizeLinear":
        return int(attribute(node, "output_dtype", UNDEFINED))
    if data is not None:
        return int(data.data_type)
    return UNDEFINED if before is None else before.kind


def _shapes(model: onnx.ModelProto) -> dict[str, Dims]:
    try:
        return shape_table(shape_inference.infer_shapes(model))
    except (shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
        return shape_table(model)  # what the file says itself
