"""Emits the graph that gives a model's scores and the gradient of a loss with respect to its input.

The graph holds the forward nodes, then the loss, then one rule per forward node in reverse order. The runtime frees
every forward value after its last reader, so only what a rule reads lives until then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from ...core.errors import UnsupportedError
from .emitter import Emitter, Site
from .graph import ForwardGraph, read_forward
from .logits import without_softmax
from .rules import RULES, SEVERAL_OUTPUTS

LABELS, SCORES, GRADIENT = "labels", "scores", "input_gradient"

Head = Callable[[Emitter], tuple[str, onnx.ValueInfoProto]]
"""Writes d loss / d output; gives its name and the graph input the loss needs beside the images."""


def cross_entropy_graph(model: onnx.ModelProto, *, straight_through: bool = True) -> onnx.ModelProto:
    """Give the graph (images, labels) -> (logits, d loss / d images) of a classifier.

    The loss is the cross-entropy with logits, summed over the batch, so that each image's gradient is its own. A
    trailing Softmax is taken off: the scores are logits then.

    Args:
        model: Float or QDQ classifier: one float input (N, ...), one output (N, classes).
        straight_through: Whether the rounding of QuantizeLinear passes the gradient on inside its clip range. False
            gives the literal derivative, zero, which shows what gradient masking looks like.

    Returns:
        A model with inputs (the model's own, ``labels`` int64 (N,)) and outputs (``scores``, ``input_gradient``).

    Raises:
        UnsupportedError: If an operator between input and output has no rule, or a shape is not known.
    """
    return _emit(read_forward(without_softmax(model)), _cross_entropy, straight_through)


def product_graph(model: onnx.ModelProto, *, straight_through: bool = True) -> onnx.ModelProto:
    """Give the graph (input, cotangent) -> (output, cotangent times Jacobian) of any model with one output.

    The plain building block below `cross_entropy_graph`; its second input is ``cotangent``, in the output's shape.

    Raises:
        UnsupportedError: If an operator between input and output has no rule, or a shape is not known.
    """
    return _emit(read_forward(model), _cotangent, straight_through)


def _emit(graph: ForwardGraph, head: Head, straight_through: bool) -> onnx.ModelProto:
    emitter = Emitter(graph)
    cotangent, extra_input = head(emitter)
    gradient = _sweep(emitter, cotangent, straight_through)
    emitter.nodes.append(helper.make_node("Identity", [graph.output_name], [SCORES]))
    emitter.nodes.append(helper.make_node("Identity", [gradient], [GRADIENT]))
    return _assembled(graph, emitter, extra_input)


def _sweep(emitter: Emitter, cotangent: str, straight_through: bool) -> str:
    """Apply the rules from the last node to the first and add up what arrives at each tensor."""
    graph = emitter.graph
    arrived: dict[str, list[str]] = defaultdict(list, {graph.output_name: [cotangent]})
    for node in reversed(graph.nodes):
        names = [name for name in node.output if arrived[name] and name in graph.active]
        if not names:
            continue
        rule = RULES.get(node.op_type)
        several = node.op_type in SEVERAL_OUTPUTS
        if rule is None or not (several or names == [node.output[0]]) or node.domain not in ("", "ai.onnx"):
            raise _no_rule(node)
        site = Site(
            node=node,
            graph=graph,
            emit=emitter,
            gradients=[_total(emitter, arrived[name]) if name in names else None for name in node.output],
            straight_through=straight_through,
        )
        for name, gradient in zip(node.input, rule(site), strict=False):
            if gradient is not None and name in graph.active:
                arrived[name].append(gradient)
    if not arrived[graph.input_name]:
        raise UnsupportedError("The output does not depend smoothly on the input, so there is no gradient to follow.")
    return _total(emitter, arrived[graph.input_name])


def _total(emitter: Emitter, parts: list[str]) -> str:
    total = parts[0]
    for part in parts[1:]:
        total = emitter.op("Add", [total, part])
    return total


def _no_rule(node: onnx.NodeProto) -> UnsupportedError:
    return UnsupportedError(
        f"No gradient rule for node {node.name!r} (operator {node.op_type!r}). "
        f"Operators with a rule: {', '.join(sorted(RULES))}. Attack with queries instead."
    )


def _cotangent(emitter: Emitter) -> tuple[str, onnx.ValueInfoProto]:
    return "cotangent", _value(emitter.graph, "cotangent", emitter.graph.output_name)


def _cross_entropy(emitter: Emitter) -> tuple[str, onnx.ValueInfoProto]:
    """Write softmax(logits) - onehot(label).

    The label's entry is computed as minus the sum of the others: 1 - p would cancel to zero for an image the model is
    sure of, and its gradient would be rounding noise. The sum is a product with a column of ones because
    ReduceSum's last bits depend on the batch size (ONNX Runtime 1.31), and an attack follows signs.
    """
    graph = emitter.graph
    shape = graph.shapes.get(graph.output_name, ())
    if len(shape) != 2 or shape[1] is None:
        raise UnsupportedError(f"Expected scores of shape (N, classes), got {shape}. Gradients need a classifier.")
    chosen = emitter.op("OneHot", [LABELS, emitter.integers([shape[1]]), emitter.array([0, 1])], {"axis": 1})
    softmax = emitter.op("Softmax", [graph.output_name], {"axis": 1})
    others = emitter.op("Mul", [softmax, emitter.op("Sub", [emitter.array(1), chosen])])
    missing = emitter.op("MatMul", [others, emitter.array(np.ones((shape[1], 1)))])
    gradient = emitter.op("Sub", [others, emitter.op("Mul", [chosen, missing])])
    return gradient, helper.make_tensor_value_info(LABELS, onnx.TensorProto.INT64, ["N"])


def _assembled(graph: ForwardGraph, emitter: Emitter, extra_input: onnx.ValueInfoProto) -> onnx.ModelProto:
    nodes = [*graph.nodes, *emitter.nodes]
    used = {name for node in nodes for name in node.input}
    twin = helper.make_graph(
        nodes,
        "twin",
        [_value(graph, graph.input_name, graph.input_name), extra_input],
        [_value(graph, SCORES, graph.output_name), _value(graph, GRADIENT, graph.input_name)],
        [*graph.kept_constants(used), *emitter.initializers],
    )
    opsets = [helper.make_opsetid("", graph.opset)]
    return helper.make_model(twin, opset_imports=opsets, ir_version=graph.ir_version)


def _value(graph: ForwardGraph, name: str, like: str) -> onnx.ValueInfoProto:
    """Declare a graph input or output with the type of the images and the shape of a forward tensor."""
    known = graph.shapes.get(like)
    shape = known and ["N" if size is None and axis == 0 else size for axis, size in enumerate(known)]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(graph.dtype), shape)
