"""BatchNorm folding: a normalisation behind a convolution or Gemm becomes part of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..core.errors import UnsupportedError
from .graph import (
    add_initializer,
    attribute,
    consumers,
    initializers,
    is_standard,
    remove_dead,
    replace_nodes,
    set_attribute,
    unique_name,
    values,
)

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Affine:
    """What an inference BatchNorm does to channel c: y = scale[c] * x + shift[c].

    Attributes:
        scale: (channels,) float64.
        shift: (channels,) float64.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


def refuse_training_mode(graph: onnx.GraphProto) -> None:
    """Refuse a graph that was exported in training mode: its answers would depend on the rest of the batch.

    Raises:
        UnsupportedError: If a BatchNormalization uses batch statistics.
    """
    for node in graph.node:
        if is_standard(node, "BatchNormalization") and attribute(node, "training_mode", 0):
            raise UnsupportedError(
                f"BatchNormalization '{node.name}' is in training mode: its output depends on the whole batch. "
                "Call model.eval() before the export."
            )


def fold_batchnorm(graph: onnx.GraphProto) -> None:
    """Fold every BatchNormalization into the Conv, ConvTranspose or Gemm before it, in place.

    With s = gamma / sqrt(var + epsilon), the weights of output channel c become s[c] * W[c] and the bias
    s[c] * (b[c] - mean[c]) + beta[c], computed in float64 and rounded once. Weights that other nodes read too are
    copied, not changed. A BatchNormalization whose input has another reader, or that follows something else, stays.

    Reference:
        Ioffe & Szegedy 2015, arXiv 1502.03167, algorithm 2, step 11.
    """
    producers = {name: node for node in graph.node for name in node.output}
    readers = consumers(graph)
    folded: list[str] = []
    for norm in graph.node:
        if not is_standard(norm, "BatchNormalization") or readers[norm.input[0]] != 1:
            continue
        layer = producers.get(norm.input[0])
        if layer is not None and _fold(graph, layer, norm):
            layer.output[0] = norm.output[0]
            folded.append(norm.output[0])
            producers[norm.output[0]] = layer
    gone = set(folded)
    replace_nodes(
        graph,
        [n for n in graph.node if not (is_standard(n, "BatchNormalization") and n.output[0] in gone)],
    )
    remove_dead(graph)


def _fold(graph: onnx.GraphProto, layer: onnx.NodeProto, norm: onnx.NodeProto) -> bool:
    if not is_standard(layer, "Conv", "ConvTranspose", "Gemm"):
        return False
    affine = norm_affine(graph, norm)
    has_bias = len(layer.input) > 2 and bool(layer.input[2])
    arrays = values(initializers(graph), [layer.input[1], *([layer.input[2]] if has_bias else [])])
    if affine is None or arrays is None or arrays[0].dtype != np.float32:
        return False
    weight, bias = arrays[0], arrays[1] if has_bias else None
    with np.errstate(all="ignore"):
        scaled = _scale_weight(layer, weight, affine.scale)
        shift = affine.shift if bias is None else affine.scale * bias * _beta(layer) + affine.shift
        folded = [] if scaled is None else [scaled.astype(np.float32), shift.astype(np.float32)]
    if not folded or shift.shape != affine.scale.shape or not all(np.isfinite(array).all() for array in folded):
        return False
    _write(graph, layer, folded[0], folded[1])
    return True


def norm_affine(graph: onnx.GraphProto, norm: onnx.NodeProto) -> Affine | None:
    """Give the affine map of a BatchNormalization, or None where its statistics are not constant."""
    arrays = values(initializers(graph), norm.input[1:5])
    if arrays is None or len({array.shape for array in arrays}) != 1:
        return None
    gamma, beta, mean, variance = (array.astype(np.float64) for array in arrays)
    with np.errstate(all="ignore"):  # damaged weights: the caller keeps what does not stay finite
        scale = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
        return Affine(scale=scale, shift=beta - mean * scale)


def _beta(layer: onnx.NodeProto) -> float:
    return float(attribute(layer, "beta", 1.0)) if layer.op_type == "Gemm" else 1.0


def _scale_weight(layer: onnx.NodeProto, weight: Floats, scale: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Multiply the weights of each output channel; None where the channels do not match."""
    if layer.op_type == "ConvTranspose":  # (in, out/groups, ...): the output channel runs inside its group
        groups = attribute(layer, "group", 1)
        if weight.shape[0] % groups or weight.shape[1] * groups != scale.size:
            return None
        grouped = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1).astype(np.float64)
        return (grouped * scale.reshape(groups, 1, weight.shape[1], 1)).reshape(weight.shape)
    axis = 1 if layer.op_type == "Gemm" and not attribute(layer, "transB", 0) else 0
    if weight.ndim < 2 or weight.shape[axis] != scale.size:
        return None
    shape = [1] * weight.ndim
    shape[axis] = scale.size
    return weight.astype(np.float64) * scale.reshape(shape)


def _write(graph: onnx.GraphProto, layer: onnx.NodeProto, weight: Floats, bias: Floats) -> None:
    names = [unique_name(graph, f"{layer.input[1]}_folded")]
    add_initializer(graph, names[0], weight)
    names.append(unique_name(graph, f"{layer.output[0]}_bias"))
    add_initializer(graph, names[1], bias)
    data = layer.input[0]
    del layer.input[:]
    layer.input.extend([data, *names])
    if layer.op_type == "Gemm":
        set_attribute(layer, "beta", 1.0)
