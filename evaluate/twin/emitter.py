"""Writes nodes and constants of the graph under construction; what to write is the rules' business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

from ...core.errors import UnsupportedError
from .graph import ForwardGraph, Shape

_SHARED_SIZE = 64  # constants up to this size are written once


class Emitter:
    """Collects nodes and constants under names the model does not use.

    Args:
        graph: The forward graph that the emitted nodes may read from.
    """

    def __init__(self, graph: ForwardGraph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._taken = set(graph.constants) | {name for node in graph.nodes for name in (*node.input, *node.output)}
        self._shared: dict[tuple[str, str, bytes], str] = {}

    def name(self, hint: str) -> str:
        """Give a tensor name that nothing else uses."""
        index = len(self.nodes) + len(self.initializers)
        while (candidate := f"grad/{hint}_{index}") in self._taken:
            index += 1
        self._taken.add(candidate)
        return candidate

    def op(self, op_type: str, inputs: Sequence[str], attributes: Mapping[str, Any] | None = None) -> str:
        """Write one node and give the name of its output."""
        output = self.name(op_type)
        self.nodes.append(helper.make_node(op_type, inputs, [output], output, **dict(attributes or {})))
        return output

    def array(self, value: ArrayLike) -> str:
        """Write a constant in the model's floating-point type and give its name."""
        return self._constant(np.asarray(value, dtype=self.graph.dtype))

    def integers(self, value: ArrayLike) -> str:
        """Write an int64 constant, as shapes, axes and pads are, and give its name."""
        return self._constant(np.asarray(value, dtype=np.int64))

    def _constant(self, value: NDArray[np.generic]) -> str:
        small = value.size <= _SHARED_SIZE
        key = (value.dtype.str, str(value.shape), value.tobytes() if small else b"")
        if small and key in self._shared:
            return self._shared[key]
        name = self.name("constant")
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
        if small:
            self._shared[key] = name
        return name


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a rule is applied: one forward node and the gradients that arrive at its outputs.

    Attributes:
        node: The forward node; a rule may ask it for further outputs.
        graph: The forward graph around it.
        emit: Where the rule writes its nodes.
        gradients: Name of d loss / d output per output, in the output's shape; None where nothing arrives.
        straight_through: Whether rounding passes the gradient on inside its clip range.
    """

    node: onnx.NodeProto
    graph: ForwardGraph
    emit: Emitter
    gradients: Sequence[str | None]
    straight_through: bool

    @property
    def gradient(self) -> str:
        """Name of d loss / d output for the first output."""
        first = self.gradients[0]
        assert first is not None
        return first

    @property
    def output(self) -> str:
        """Name of the node's first output."""
        return str(self.node.output[0])

    def input(self, index: int) -> str:
        """Give the name of an input, empty where it is left out."""
        return str(self.node.input[index]) if index < len(self.node.input) else ""

    def needs(self, index: int) -> bool:
        """Say whether the gradient with respect to an input is asked for."""
        return self.input(index) in self.graph.active

    def shape(self, name: str) -> Shape:
        """Give the shape of a tensor of the forward graph."""
        return self.graph.shape(name, self.node)

    def attribute(self, name: str, default: Any) -> Any:
        """Give an attribute's value, or the default where it is absent."""
        for entry in self.node.attribute:
            if entry.name == name:
                return helper.get_attribute_value(entry)
        return default

    def constant(self, index: int) -> NDArray[Any]:
        """Give the value of an input that must not depend on the images.

        Raises:
            UnsupportedError: If it does.
        """
        value = self.graph.constants.get(self.input(index))
        if value is None:
            raise self.refuse(f"input {index} ({self.input(index)!r}) is computed from the images")
        return value

    def static(self, name: str, axis: int) -> int:
        """Give one size of a tensor.

        Raises:
            UnsupportedError: If it is not fixed.
        """
        size = self.shape(name)[axis]
        if size is None:
            raise self.refuse(f"axis {axis} of tensor {name!r} has no fixed size")
        return size

    def refuse(self, reason: str) -> UnsupportedError:
        """Build the error that names this node, for the rule to raise."""
        return UnsupportedError(
            f"No gradient for node {self.node.name!r} ({self.node.op_type}): {reason}. Attack with queries instead."
        )

    def reshaped(self, gradient: str, like: str) -> str:
        """Write a reshape of a gradient to the shape of a forward tensor with the same number of elements."""
        shape = self.shape(like)
        if sum(size is None for size in shape) <= 1:
            target = self.emit.integers([-1 if size is None else size for size in shape])
        else:
            target = self.emit.op("Shape", [like])
        return self.emit.op("Reshape", [gradient, target])

    def unbroadcast(self, gradient: str, shape: Shape, like: str) -> str:
        """Write the sum of a gradient of the given shape over the axes along which ``like`` was repeated."""
        target = self.shape(like)
        added = len(shape) - len(target)
        repeated = [axis + added for axis, size in enumerate(target) if size == 1 and shape[axis + added] != 1]
        if repeated:
            gradient = self.emit.op("ReduceSum", [gradient, self.emit.integers(repeated)], {"keepdims": 1})
        if added:
            gradient = self.emit.op("ReduceSum", [gradient, self.emit.integers(range(added))], {"keepdims": 0})
        return gradient

    def masked(self, mask: str) -> str:
        """Write the gradient where a boolean mask holds, and zero elsewhere.

        A cast and a product: ONNX Runtime's `Where` builds both branches and takes 1.4 times as long.
        """
        to = helper.np_dtype_to_tensor_dtype(self.graph.dtype)
        return self.emit.op("Mul", [self.gradient, self.emit.op("Cast", [mask], {"to": to})])


Gradients = Sequence[str | None]
