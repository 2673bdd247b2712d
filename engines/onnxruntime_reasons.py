"""Why ONNX Runtime's CPU provider keeps a layer in float, read off the source graph; no verdicts here."""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto, TensorProto

from .onnx_graph import DEQUANTIZE, MAC_OPERATORS, QUANTIZE, Graph

NOT_DETERMINED = "reason not determined"
_EIGHT_BITS = (TensorProto.UINT8, TensorProto.INT8)


def why_float(graph: Graph, layer: NodeProto) -> str:
    """Give the first cause that explains why a layer of a QDQ file is not run by an integer kernel.

    Args:
        graph: Index of the source file.
        layer: A node of it that multiplies.

    Returns:
        One clause for a person, or ``reason not determined``.

    Reference:
        The rules are those of ONNX Runtime's QDQ selectors and of its int8-to-uint8 rewrite on x64, confirmed on
        ResNet20 and MobileNetV2: they explain every float convolution of the symmetric int8 files, and no integer one.
    """
    if layer.op_type not in MAC_OPERATORS:
        return "operator has no integer kernel"
    rules: tuple[Callable[[Graph, NodeProto], str], ...] = (
        _float_model,
        _float_weight,
        _float_activation,
        _unsupported_types,
        _float_output,
        _int8_with_several_readers,
    )
    return next((reason for rule in rules if (reason := rule(graph, layer))), NOT_DETERMINED)


def _float_model(graph: Graph, layer: NodeProto) -> str:
    quantized = any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in graph.nodes)
    return "" if quantized else "float model"


def _float_weight(graph: Graph, layer: NodeProto) -> str:
    weight = graph.weight(layer)
    if _made_by(graph, weight, DEQUANTIZE) or graph.types.get(weight) in _EIGHT_BITS:
        return ""
    if graph.is_constant(weight):
        return "weights are float"
    return f"input tensor '{weight}' has no QuantizeLinear"


def _float_activation(graph: Graph, layer: NodeProto) -> str:
    activation = graph.activation(layer)
    if _made_by(graph, activation, DEQUANTIZE) or graph.types.get(activation) in _EIGHT_BITS:
        return ""
    return f"input tensor '{activation}' has no QuantizeLinear"


def _unsupported_types(graph: Graph, layer: NodeProto) -> str:
    for role, tensor in (("activation", graph.activation(layer)), ("weight", graph.weight(layer))):
        kind = _stored_type(graph, tensor)
        if kind is not None and kind not in _EIGHT_BITS:
            return f"{role} type {TensorProto.DataType.Name(kind).lower()} has no integer {layer.op_type} kernel"
    return ""


def _float_output(graph: Graph, layer: NodeProto) -> str:
    output = layer.output[0]
    readers = graph.readers.get(output, [])
    if len(readers) == 1 and readers[0].op_type == QUANTIZE:
        return ""
    if output in graph.outputs or len(readers) != 1:
        return f"output tensor '{output}' has no QuantizeLinear of its own"
    middle = readers[0]
    after = graph.readers.get(middle.output[0], [])
    if not any(node.op_type == QUANTIZE for node in after):
        return f"output tensor '{output}' has no QuantizeLinear"
    return f"{middle.op_type} between {layer.op_type} and QuantizeLinear not folded{_zero_point(graph, after)}"


def _zero_point(graph: Graph, readers: list[NodeProto]) -> str:
    kind = next((graph.types.get(node.output[0]) for node in readers if node.op_type == QUANTIZE), None)
    return ": an int8 grid around zero represents negative values" if kind == TensorProto.INT8 else ""


def _int8_with_several_readers(graph: Graph, layer: NodeProto) -> str:
    for tensor in (graph.activation(layer), _quantized_output(graph, layer)):
        if tensor and _stored_type(graph, tensor) == TensorProto.INT8:
            count = len(graph.readers.get(tensor, []))
            if count > 1:
                return (
                    f"tensor '{tensor}' stays int8 because it feeds {count} layers, "
                    "and the CPU provider has no integer kernel for int8 activations"
                )
    return ""


def _quantized_output(graph: Graph, layer: NodeProto) -> str:
    """Name the dequantized tensor behind a layer's own QuantizeLinear, or nothing."""
    for quantize in graph.readers.get(layer.output[0], []):
        for dequantize in graph.readers.get(quantize.output[0], []):
            if dequantize.op_type == DEQUANTIZE:
                return str(dequantize.output[0])
    return ""


def _stored_type(graph: Graph, tensor: str) -> int | None:
    """Give the type a dequantized tensor is stored in."""
    node = graph.producers.get(tensor)
    return graph.types.get(node.input[0]) if node is not None and node.op_type == DEQUANTIZE else None


def _made_by(graph: Graph, tensor: str, operator: str) -> bool:
    node = graph.producers.get(tensor)
    return node is not None and node.op_type == operator
