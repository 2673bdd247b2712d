"""Whether MatMulNBits rounds its activations to int8: shown by its own answers, since no profile records it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

_DOMAIN = "com.microsoft"
# The two hypotheses differ by about 1 % of the product's size; the right one is met to 1e-4 of that, or to a few
# percent where single values lie on a rounding boundary.
_CLOSE = 0.1


def rounds_activations(
    kernel: NodeProto, weights: Mapping[str, NDArray[Any]], *, rows: int, threads: int
) -> bool | None:
    """Run one kernel alone on noise and compare its answer with a float and with an int8 product.

    Args:
        kernel: A MatMulNBits node of the optimized graph.
        weights: Initializers of that graph.
        rows: Rows of the activation at batch 1; kernels are chosen by it.
        threads: As the engine uses.

    Returns:
        True if the answer is that of activations rounded to int8 per block, False if it is that of float activations,
        None if it is neither, or the node has zero points, groups or a size this test does not know.
    """
    sizes = {entry.name: int(entry.i) for entry in kernel.attribute}
    if any(kernel.input[3:5]) or sizes.get("bits", 4) not in (4, 8) or not set(kernel.input[1:3]) <= weights.keys():
        return None
    activation = np.random.default_rng(0).normal(size=(max(rows, 1), sizes["K"])).astype(np.float32)
    answer = _run(kernel, weights, activation, threads)
    values = _values(weights[kernel.input[1]], weights[kernel.input[2]], sizes)
    exact = activation.astype(np.float64) @ values
    rounded = _rounded(activation, sizes["block_size"]) @ values
    apart = float(np.linalg.norm(exact - rounded))
    if np.linalg.norm(answer - rounded) < _CLOSE * apart:
        return True
    return False if np.linalg.norm(answer - exact) < _CLOSE * apart else None


def _run(
    kernel: NodeProto, weights: Mapping[str, NDArray[Any]], activation: NDArray[np.float32], threads: int
) -> NDArray[np.float64]:
    import onnxruntime

    node = NodeProto()
    node.CopyFrom(kernel)
    del node.input[3:]
    node.input[0], node.output[0] = "activation", "answer"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("activation", "answer")]
    stored = [onnx.numpy_helper.from_array(weights[name], name) for name in node.input[1:3]]
    graph = helper.make_graph([node], "probe", values[:1], values[1:], stored)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"activation": activation})[0], np.float64)


def _values(packed: NDArray[Any], scales: NDArray[Any], sizes: Mapping[str, int]) -> NDArray[np.float64]:
    """Unpack the weights, (K, N): low half of a byte first, offset 2**(bits - 1), one scale per block of a column."""
    inputs, outputs, bits = sizes["K"], sizes["N"], sizes.get("bits", 4)
    halves = np.stack([packed & 15, packed >> 4], axis=-1) if bits == 4 else packed
    codes = halves.reshape(outputs, -1).astype(np.float64) - 2 ** (bits - 1)
    steps = np.repeat(scales.reshape(outputs, -1).astype(np.float64), sizes["block_size"], axis=1)
    return np.asarray((codes * steps)[:, :inputs].T)


def _rounded(activation: NDArray[np.float32], block: int) -> NDArray[np.float64]:
    """Round each block of each row to 255 levels around zero, the outermost at the block's largest magnitude."""
    rows, inputs = activation.shape
    padded = np.pad(activation.astype(np.float64), ((0, 0), (0, -inputs % block))).reshape(rows, -1, block)
    steps = np.maximum(np.abs(padded).max(axis=2, keepdims=True) / 127, np.finfo(np.float32).tiny)
    return np.asarray((np.rint(padded / steps) * steps).reshape(rows, -1)[:, :inputs])
