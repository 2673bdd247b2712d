"""What an operator can give at all: the values behind Relu and Clip, whatever was observed."""

from __future__ import annotations

import math

import onnx

from .graph import initializers, is_standard, values


def codomains(graph: onnx.GraphProto) -> dict[str, tuple[float, float]]:
    """Give what Relu and Clip can output; 0 belongs to every quantized range."""
    limits = {}
    for node in graph.node:
        bounds = clip_bounds(graph, node)
        if bounds is not None:
            limits[node.output[0]] = (min(bounds[0], 0.0), max(bounds[1], 0.0))
    return limits


def clip_bounds(graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[float, float] | None:
    """Give the bounds of a Relu or Clip, or None for other nodes and bounds that are computed."""
    if is_standard(node, "Relu"):
        return 0.0, math.inf
    if not is_standard(node, "Clip"):
        return None
    bounds = [-math.inf, math.inf]
    for index, name in enumerate(node.input[1:3]):
        if name:
            found = values(initializers(graph), [name])
            if found is None:
                return None
            bounds[index] = float(found[0].item())
    return bounds[0], bounds[1]
