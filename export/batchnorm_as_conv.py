"""A BatchNorm that no convolution absorbed, as a depthwise 1x1 convolution: the form integer kernels know."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from .fold_batchnorm import norm_affine
from .graph import add_initializer, is_standard, remove_dead, replace_nodes, unique_name
from .shapes import shape_table


def batchnorm_as_conv(model: onnx.ModelProto) -> None:
    """Replace each BatchNormalization on images by the same affine map written as a Conv with one weight a channel.

    With one scale per channel such a weight is exact in int8 (it is 127 steps of its own scale), so only the
    activations are rounded.

    Args:
        model: A model with inferred shapes; changed in place.
    """
    graph = model.graph
    shapes = shape_table(model)
    nodes = []
    for node in graph.node:
        is_image = is_standard(node, "BatchNormalization") and len(shapes.get(node.input[0], ())) == 4
        conv = _as_conv(graph, node) if is_image else None
        nodes.append(conv or node)
    replace_nodes(graph, nodes)
    remove_dead(graph)


def _as_conv(graph: onnx.GraphProto, norm: onnx.NodeProto) -> onnx.NodeProto | None:
    affine = norm_affine(graph, norm)
    if affine is None or not (np.isfinite(affine.scale).all() and np.isfinite(affine.shift).all()):
        return None
    channels = affine.scale.size
    weight = unique_name(graph, f"{norm.output[0]}_weight")
    add_initializer(graph, weight, affine.scale.astype(np.float32).reshape(channels, 1, 1, 1))
    bias = unique_name(graph, f"{norm.output[0]}_bias")
    add_initializer(graph, bias, affine.shift.astype(np.float32))
    inputs = [norm.input[0], weight, bias]
    conv: onnx.NodeProto = helper.make_node(
        "Conv", inputs, [norm.output[0]], name=norm.name, group=channels, kernel_shape=[1, 1]
    )
    return conv
