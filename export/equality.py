"""Proof by running: two QDQ models that must compute the same, compared number by number with optimizations off."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..core.errors import UnsupportedError
from .graph import is_standard
from .onnx_file import one_line, serialize
from .require import require

Floats = NDArray[np.float32]


def prove_equal(original: onnx.ModelProto, lowered: onnx.ModelProto, images: Floats) -> float:
    """Check that a rewrite changed nothing: equal outputs, and equal values of every activation both models dequantize.

    Both run on ONNX Runtime with graph optimizations off, so that Q and DQ are computed one by one in float. Comparing
    the activations too keeps a difference from hiding behind the rounding of the last layer.

    Args:
        original: The model before the rewrite.
        lowered: The model after it, with the same inputs and outputs.
        images: (N, 3, H, W) float32 in the layout and range the model takes; a few real images, N >= 1.

    Returns:
        The largest absolute difference found, which is always 0.0.

    Raises:
        UnsupportedError: If anything differs at all, or a model does not run.
    """
    names = _shared_tensors(original, lowered)
    sessions = [_open(model, names) for model in (original, lowered)]
    worst = 0.0
    for index in range(len(images)):
        first, second = (_run(session, images[index : index + 1]) for session in sessions)
        for name, expected, got in zip(first, first.values(), second.values(), strict=True):
            if not np.array_equal(expected, got, equal_nan=True):
                raise UnsupportedError(
                    f"The rewrite for ONNX Runtime is not exact on this model: tensor '{name}' of image {index} "
                    f"{_difference(expected, got)}. Use profile 'cpu-u8' for this engine, and report the model."
                )
    return worst


def _difference(expected: NDArray[Any], got: NDArray[Any]) -> str:
    if expected.shape != got.shape:
        return f"has shape {got.shape} instead of {expected.shape}"
    return f"differs by up to {np.abs(expected.astype(np.float64) - got).max():.3g}"


def _shared_tensors(original: onnx.ModelProto, lowered: onnx.ModelProto) -> list[str]:
    """Name the outputs, and the dequantized activations of both models."""
    outputs = [entry.name for entry in original.graph.output]
    first, second = _dequantized(original), _dequantized(lowered)
    return list(dict.fromkeys([*outputs, *(name for name in first if name in second)]))


def _dequantized(model: onnx.ModelProto) -> list[str]:
    constant = {tensor.name for tensor in model.graph.initializer}
    nodes = (node for node in model.graph.node if is_standard(node, "DequantizeLinear"))
    return [node.output[0] for node in nodes if node.input[0] not in constant]


def _open(model: onnx.ModelProto, names: list[str]) -> Any:
    runtime: Any = require("onnxruntime", "Proving that a rewrite is exact")
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    declared = {entry.name for entry in probe.graph.output}
    probe.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in declared
    )
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    try:
        return runtime.InferenceSession(serialize(probe), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base class
        raise UnsupportedError(f"ONNX Runtime cannot open the model: {one_line(error)}.") from error


def _run(session: Any, images: Floats) -> dict[str, NDArray[Any]]:
    """Run one image, as often repeated as a fixed batch asks for."""
    entry = session.get_inputs()[0]
    batch = entry.shape[0] if isinstance(entry.shape[0], int) else 1
    names = sorted(output.name for output in session.get_outputs())
    try:
        return dict(zip(names, session.run(names, {entry.name: np.repeat(images, batch, axis=0)}), strict=True))
    except Exception as error:  # onnxruntime's errors share no public base class
        raise UnsupportedError(f"ONNX Runtime cannot run the model: {one_line(error)}.") from error
