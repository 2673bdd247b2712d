"""Reading a classifier's signature off an ONNX Runtime session and its graph; refuses what is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import GraphProto

from ..core.errors import UnsupportedError
from .protocol import EngineSpec, InputType, Layout, OutputKind

_INPUT_TYPES: Mapping[str, InputType] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}
_OUTPUT_TYPES = ("tensor(float)", "tensor(float16)", "tensor(uint8)")
_PASSED_THROUGH = frozenset(("Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze"))
_CHANNELS = (1, 3)


def read_spec(session: Any, graph: GraphProto, path: Path) -> EngineSpec:
    """Read the signature of a classifier.

    Args:
        session: An ONNX Runtime session.
        graph: The graph of its file.
        path: The file, for messages.

    Raises:
        UnsupportedError: If there is not exactly one image input of fixed size and one row of scores.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise UnsupportedError(
            f"Expected one input and one output in '{path}', got {len(inputs)} and {len(outputs)}. "
            "Export the classifier alone."
        )
    entry, exit_ = inputs[0], outputs[0]
    layout, height, width, channels = _image(entry, path)
    return EngineSpec(
        input_name=entry.name,
        height=height,
        width=width,
        channels=channels,
        layout=layout,
        dtype=_input_type(entry, path),
        fixed_batch=entry.shape[0] if isinstance(entry.shape[0], int) and entry.shape[0] > 0 else None,
        classes=_classes(exit_, path),
        output_kind="uint8-scores" if exit_.type == "tensor(uint8)" else output_kind(graph),
    )


def output_kind(graph: GraphProto) -> OutputKind:
    """Tell probabilities from logits by the operator that makes the output.

    Args:
        graph: A graph with one output.

    Returns:
        ``probabilities`` if the output is a Softmax, read through Q/DQ and reshaping; else ``logits``.
    """
    producers = {tensor: node for node in graph.node for tensor in node.output}
    node = producers.get(graph.output[0].name)
    while node is not None and node.op_type in _PASSED_THROUGH:
        node = producers.get(node.input[0])
    return "probabilities" if node is not None and node.op_type == "Softmax" else "logits"


def _image(entry: Any, path: Path) -> tuple[Layout, int, int, int]:
    shape = entry.shape
    fixed = len(shape) == 4 and all(isinstance(side, int) and side > 0 for side in shape[1:])
    if fixed and shape[1] in _CHANNELS:
        return "nchw", shape[2], shape[3], shape[1]
    if fixed and shape[3] in _CHANNELS:
        return "nhwc", shape[1], shape[2], shape[3]
    raise UnsupportedError(
        f"Expected an image input (N, C, H, W) or (N, H, W, C) of fixed size with 1 or 3 channels in '{path}', "
        f"got '{entry.name}' of shape {shape}. Export the model with a fixed image size."
    )


def _input_type(entry: Any, path: Path) -> InputType:
    kind = _INPUT_TYPES.get(entry.type)
    if kind is None:
        raise UnsupportedError(
            f"Expected an input of float32, float16 or uint8 in '{path}', got {entry.type}. "
            "Export the model with one of them."
        )
    return kind


def _classes(exit_: Any, path: Path) -> int:
    shape = exit_.shape
    if exit_.type not in _OUTPUT_TYPES or len(shape) != 2 or not isinstance(shape[1], int) or shape[1] < 2:
        raise UnsupportedError(
            f"Expected scores (N, classes) of float32 or float16 in '{path}', got '{exit_.name}' of {exit_.type} "
            f"{shape}. Only classifiers are supported."
        )
    return shape[1]
