"""A float graph that computes as if its activations and weights were on grids; the integer graph is export's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..core.codes import WeightCodes
from ..core.errors import InputError
from .graph import absorbed_tensors, activation_tensors
from .layers import set_initializer

_SAME_VALUES = ("Flatten", "Reshape", "Transpose", "MaxPool", "Slice", "Squeeze", "Unsqueeze", "Identity", "Gather")
_WIDEST = 8


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The asymmetric grid of one activation: ``2**bits`` levels from low to high, zero among them.

    Attributes:
        low: Lower end, in the tensor's unit.
        high: Upper end, >= low.
        bits: Width, 2..8.
    """

    low: float
    high: float
    bits: int

    @property
    def step(self) -> float:
        """Distance between two levels; 1 for a grid that is only zero."""
        span = max(self.high, 0.0) - min(self.low, 0.0)
        return span / (2**self.bits - 1) if span > 0 else 1.0

    @property
    def zero_point(self) -> int:
        """Number of the level that stands for zero."""
        return int(np.rint(-min(self.low, 0.0) / self.step))


def grid_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """Name the activations that get a grid of their own, in the order of computation.

    Not among them: what only leads into Relu or Clip, and what merely moves or picks values already on a grid.
    """
    absorbed = absorbed_tensors(model)
    moved = {name for node in model.graph.node if node.op_type in _SAME_VALUES for name in node.output}
    return tuple(name for name in activation_tensors(model) if name not in absorbed and name not in moved)


def on_grids(model: onnx.ModelProto, grids: Mapping[str, Grid]) -> onnx.ModelProto:
    """Give a copy of the model in which every reader of a named activation sees it rounded to its grid.

    A graph output keeps its float values. What happens is Clip to the ends of the grid, then QuantizeLinear and
    DequantizeLinear in uint8.

    Args:
        model: A float model, opset 13 or later.
        grids: Activation to grid.

    Raises:
        InputError: If a grid is wider than 8 bits, narrower than 2, or its ends are not in order.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = list(copy.graph.node)
    del copy.graph.node[:]
    for node in nodes:
        for index, name in enumerate(node.input):
            if name in grids:
                node.input[index] = _rounded(name)
    written = {value.name for value in model.graph.input} & grids.keys()
    ahead = [made for name in sorted(written) for made in _grid_nodes(copy, name, grids[name])]
    copy.graph.node.extend(ahead)
    for node in nodes:
        copy.graph.node.append(node)
        for name in node.output:
            if name in grids:
                copy.graph.node.extend(_grid_nodes(copy, name, grids[name]))
    return copy


def with_weights(model: onnx.ModelProto, codes: Mapping[str, WeightCodes]) -> onnx.ModelProto:
    """Give a copy of the model whose named weights have the values their codes stand for."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name, chosen in codes.items():
        set_initializer(copy, name, chosen.values())
    return copy


def _rounded(name: str) -> str:
    return f"{name}_on_grid"


def _grid_nodes(model: onnx.ModelProto, name: str, grid: Grid) -> list[onnx.NodeProto]:
    if not (2 <= grid.bits <= _WIDEST and np.isfinite([grid.low, grid.high]).all() and grid.low <= grid.high):
        raise InputError(f"Expected a grid of 2-8 bits with low <= high for '{name}', got {grid}.")
    step, zero = np.float32(grid.step), grid.zero_point
    constants = {
        f"{name}_grid_low": np.float32(-zero * step),
        f"{name}_grid_high": np.float32((2**grid.bits - 1 - zero) * step),
        f"{name}_grid_step": step,
        f"{name}_grid_zero": np.uint8(zero),
    }
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v), key) for key, v in constants.items())
    low, high, scale, zero_point = constants
    inside, number = f"{name}_in_grid", f"{name}_level"
    return [
        helper.make_node("Clip", [name, low, high], [inside]),
        helper.make_node("QuantizeLinear", [inside, scale, zero_point], [number]),
        helper.make_node("DequantizeLinear", [number, scale, zero_point], [_rounded(name)]),
    ]
