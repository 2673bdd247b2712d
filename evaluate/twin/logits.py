"""Takes a trailing Softmax off a classifier, so that the loss is computed from logits."""

from __future__ import annotations

import onnx

_PASSES = frozenset(
    {"Identity", "Flatten", "Reshape", "Squeeze", "Slice", "Cast", "QuantizeLinear", "DequantizeLinear"}
)
_ROUNDS = frozenset({"Softmax", "LogSoftmax", "QuantizeLinear", "DequantizeLinear"})


def without_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the model with a trailing Softmax replaced by the identity, or the model itself if it has none.

    cross-entropy(log softmax(z)) = cross-entropy(z), so the loss is the same and nothing underflows; so is the order
    of the classes. The Softmax is found behind reshapes, a slice of classes (the rest is renormalised then) and the
    quantization of the probabilities, which is taken off with it.
    """
    chain = _tail(model.graph)
    if not chain or chain[-1].op_type not in ("Softmax", "LogSoftmax"):
        return model
    names = {node.output[0] for node in chain if node.op_type in _ROUNDS}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.output and node.output[0] in names:
            identity = onnx.helper.make_node("Identity", [node.input[0]], [node.output[0]], node.name)
            node.CopyFrom(identity)
    del copy.graph.value_info[:]  # types between Q and DQ have changed
    return copy


def _tail(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Walk from the output upwards through nodes that only pass scores on, up to and including the first other."""
    makers = {name: node for node in graph.node for name in node.output}
    chain: list[onnx.NodeProto] = []
    node = makers.get(graph.output[0].name)
    while node is not None:
        chain.append(node)
        if node.op_type not in _PASSES:
            break
        node = makers.get(node.input[0])
    return chain
