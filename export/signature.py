"""What goes into a classifier and what comes out, read from its graph; whatever is no image classifier is refused."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from ..core.errors import InputError, UnsupportedError
from .graph import STANDARD
from .shapes import Dims, dims, infer_shapes

_SHAPE_ONLY = frozenset({"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose"})


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The interface of an image classifier.

    Attributes:
        input_name: The image input, float32.
        output_name: The scores, (N, classes) float32.
        height: Image height in pixels.
        width: Image width in pixels.
        channels: Always 3.
        layout: ``"nchw"`` or ``"nhwc"``.
        classes: Number of scores per image, at least 2.
        fixed_batch: The only batch size the model takes, or None where any is taken.
        output_kind: ``"probabilities"`` behind a Softmax, else ``"logits"``.
    """

    input_name: str
    output_name: str
    height: int
    width: int
    channels: int
    layout: str
    classes: int
    fixed_batch: int | None
    output_kind: str


def classifier_signature(model: onnx.ModelProto) -> Signature:
    """Read the interface of an image classifier off its graph.

    Args:
        model: A model as `read_model` or `prepare` gives it.

    Returns:
        The signature.

    Raises:
        UnsupportedError: If the model is no classifier of colour images with float32 input.
        InputError: If the image size or the number of classes is not fixed; the message says what to change.
    """
    graph = infer_shapes(model).graph
    image = _only_input(graph)
    shape = _image_shape(image)
    layout = _layout(image.name, shape)
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    if not isinstance(height, int) or not isinstance(width, int):
        raise InputError(
            f"Input '{image.name}' has no fixed image size: {_text(shape)}. "
            "Export the model with a fixed height and width."
        )
    output = _only_output(graph)
    return Signature(
        input_name=image.name,
        output_name=output.name,
        height=height,
        width=width,
        channels=3,
        layout=layout,
        classes=_classes(output),
        fixed_batch=shape[0] if isinstance(shape[0], int) else None,
        output_kind=_output_kind(graph, output.name),
    )


def _only_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in stored]
    if len(inputs) != 1:
        raise UnsupportedError(
            f"Expected one image input, got {len(inputs)}: "
            f"{', '.join(_describe(entry) for entry in inputs) or 'none'}. "
            "Only image classifiers are supported."
        )
    image: onnx.ValueInfoProto = inputs[0]
    return image


def _image_shape(image: onnx.ValueInfoProto) -> Dims:
    kind = image.type.tensor_type.elem_type
    shape = dims(image)
    if kind != onnx.TensorProto.FLOAT:
        hint = (
            "Models with uint8 input are not supported here yet: export the float model without its input quantizer."
            if kind == onnx.TensorProto.UINT8
            else "Only image classifiers with float32 input are supported."
        )
        raise UnsupportedError(f"Expected a float32 image input, got {_describe(image)}. {hint}")
    if shape is None or len(shape) != 4:
        raise UnsupportedError(
            f"Expected an image input of shape (N, 3, H, W) or (N, H, W, 3), got {_describe(image)}. "
            "Only image classifiers are supported."
        )
    return shape


def _layout(name: str, shape: Dims) -> str:
    if shape[1] == 3:
        return "nchw"
    if shape[3] == 3:
        return "nhwc"
    raise UnsupportedError(
        f"Input '{name}' of shape {_text(shape)} has no axis of 3 colour channels. Only colour images are supported."
    )


def _only_output(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    if len(graph.output) != 1:
        names = ", ".join(_describe(entry) for entry in graph.output)
        raise UnsupportedError(
            f"Expected one output (N, classes), got {len(graph.output)}: {names}. Detectors and the like are not "
            "supported; from a classifier, remove all outputs but the scores."
        )
    output: onnx.ValueInfoProto = graph.output[0]
    return output


def _classes(output: onnx.ValueInfoProto) -> int:
    shape = dims(output)
    if output.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise UnsupportedError(
            f"Expected float32 scores, got {_describe(output)}. Export the model without its ArgMax."
        )
    if shape is None:
        raise InputError(f"The shape of output '{output.name}' cannot be inferred. Export the model with fixed shapes.")
    if len(shape) == 4 and shape[2:] == (1, 1):
        raise UnsupportedError(
            f"Output '{output.name}' has shape {_text(shape)}. "
            "Add a Flatten behind it, so that it becomes (N, classes)."
        )
    if len(shape) != 2:
        raise UnsupportedError(
            f"Expected scores of shape (N, classes), got {_describe(output)}. Only image classifiers are supported."
        )
    if not isinstance(shape[1], int):
        raise InputError(f"Output '{output.name}' of shape {_text(shape)} has no fixed number of classes.")
    if shape[1] < 2:
        raise UnsupportedError(f"Output '{output.name}' has {shape[1]} score per image, a classifier has at least 2.")
    return shape[1]


def _output_kind(graph: onnx.GraphProto, name: str) -> str:
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get(name)
    while node is not None and node.domain in STANDARD and node.op_type in _SHAPE_ONLY:
        node = producers.get(node.input[0])
    if node is not None and node.op_type == "Sigmoid":
        raise UnsupportedError(
            f"Output '{name}' comes from a Sigmoid: one independent score per label. Only single-label classifiers are "
            "supported; export the model without the Sigmoid if it is one."
        )
    return "probabilities" if node is not None and node.op_type == "Softmax" else "logits"


def _describe(entry: onnx.ValueInfoProto) -> str:
    kind = onnx.TensorProto.DataType.Name(entry.type.tensor_type.elem_type).lower()
    return f"'{entry.name}' {kind.replace('float', 'float32') if kind == 'float' else kind} {_text(dims(entry))}"


def _text(shape: Dims | None) -> str:
    return "of unknown rank" if shape is None else f"({', '.join('?' if d is None else str(d) for d in shape)})"
