"""Which tensors of a graph get a range: the float activations, and those that share their activation function's."""

from __future__ import annotations

from collections import Counter

import onnx

from ..core.errors import InputError
from .weightless import without_weights

_ABSORBED = ("Relu", "Clip")


def model_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """Give the one input that takes images.

    Raises:
        InputError: If the model has none or several, or its element type is not float32.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs: list[onnx.ValueInfoProto] = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InputError(f"Expected a model with one input, got {len(inputs)}: {names}. Calibrate an image classifier.")
    if inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise InputError(f"Expected a float32 input, got another type for '{inputs[0].name}'. Calibrate a float model.")
    return inputs[0]


def fixed_batch(model: onnx.ModelProto) -> int:
    """Give the batch size the model is fixed to, 0 where it takes any.

    Raises:
        InputError: If the model has no one float32 input.
    """
    sides = model_input(model).type.tensor_type.shape.dim
    return int(sides[0].dim_value) if sides else 0


def activation_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """Name every float32 activation of the main graph, in the order of computation.

    These are the graph's input and each node's inputs and outputs that are float32 and not initializers: a superset of
    what ONNX Runtime's calibrator observes for any choice of operator types, so its quantizer finds each range it asks
    for.

    Args:
        model: Any model that ONNX shape inference can type; tensors it cannot type are left out, as in ONNX Runtime.

    Returns:
        Tensor names without repetition.

    Reference:
        ``CalibraterBase.select_tensors_to_calibrate`` in onnxruntime/quantization/calibrate.py.
    """
    floats = _float_tensors(onnx.shape_inference.infer_shapes(without_weights(model)).graph)
    constants = {tensor.name for tensor in model.graph.initializer}
    wanted: dict[str, None] = {value.name: None for value in model.graph.input}
    for node in model.graph.node:
        wanted.update(dict.fromkeys([*node.input, *node.output]))
    return tuple(name for name in wanted if name in floats and name not in constants)


def _float_tensors(graph: onnx.GraphProto) -> set[str]:
    values = [*graph.input, *graph.value_info, *graph.output]
    return {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}


def absorbed_tensors(model: onnx.ModelProto) -> dict[str, str]:
    """Map each tensor that exists only to pass through Relu or Clip to the tensor behind the activation function.

    ONNX Runtime's quantizer overwrites the range of such a tensor with the range behind the activation function
    (``BaseQuantizer.adjust_tensor_ranges``) and then removes the function or keeps it in the same scale. So what its
    histogram would say is never used, and it need not be collected.

    Returns:
        Name before -> name behind, with chains followed to their end.
    """
    readers = Counter(name for node in model.graph.node for name in node.input)
    interface = {value.name for value in [*model.graph.input, *model.graph.output]}
    behind = {
        node.input[0]: node.output[0]
        for node in model.graph.node
        if node.op_type in _ABSORBED and readers[node.input[0]] == 1 and node.input[0] not in interface
    }
    return {name: _end_of_chain(name, behind) for name in behind}


def _end_of_chain(name: str, behind: dict[str, str]) -> str:
    while name in behind:
        name = behind[name]
    return name
