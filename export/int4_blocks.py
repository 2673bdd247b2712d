"""Weight-only files: the weights of MatMul and Gemm in 4 bits with a scale per block, the activations in float.

How much of that a runtime computes in integers is its own choice: TensorRT and OpenVINO multiply in float, ONNX
Runtime's MatMulNBits rounds activations to int8 only at accuracy level 4. The audit says it; this file never does.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..core.errors import InputError, UnsupportedError
from ..core.files import sha256_bytes
from .block_codes import BlockCodes, block_codes, pack_blocks, pack_nibbles
from .graph import attribute, check_nodes, initializers, is_standard, remove_dead, replace_nodes, unique_name
from .onnx_file import check_model, serialize
from .prepare import MAX_IR_VERSION, raise_opset

STYLES = ("matmulnbits", "qdq")
BLOCKS = (16, 32, 64, 128, 256)
ACCURACY_LEVELS = (0, 4)
PROFILES = {"matmulnbits": "w4-blocks-nbits", "qdq": "w4-blocks-qdq"}
"""Style to the profile's name on the card; the digit is the width."""
_MICROSOFT = "com.microsoft"
_BLOCKED_OPSET = 21  # the first with INT4 tensors and block_size in DequantizeLinear
_CONTAINERS = {4: TensorProto.INT4, 8: TensorProto.INT8}


def quantize_blocks(
    model: onnx.ModelProto,
    *,
    block: int,
    bits: int = 4,
    style: str = "matmulnbits",
    accuracy_level: int = 0,
    scale: str = "max",
    keep_float: Collection[str] = (),
) -> onnx.ModelProto:
    """Store the weights of every MatMul and Gemm in few bits with one scale per block along the reduction axis.

    Both styles hold the same codes and scales, so they compute the same up to the order of summation. Convolutions,
    products of two activations, and weights whose reduction length the block does not divide stay as they are.

    Args:
        model: A prepared float model; not changed.
        block: Weights along the reduction axis that share a scale: one of `BLOCKS`.
        bits: 4, or 8 for comparison.
        style: ``"matmulnbits"``: ONNX Runtime's own operator. ``"qdq"``: DequantizeLinear with ``block_size`` of
            opset 21, which TensorRT's parser, OpenVINO and ONNX Runtime read (the last may fuse it to MatMulNBits).
        accuracy_level: 0 multiplies in float; 4 allows ONNX Runtime to round activations to int8 per block. Only for
            ``"matmulnbits"``.
        scale: ``"max"`` or ``"mse"``, see `block_codes`.
        keep_float: Names of nodes that stay as they are.

    Returns:
        The model, with profile, precision and the source's sha256 in its metadata. The precision is ``w4a16-b32`` for
        blocks of 32; at accuracy level 4 it is ``w4a8-b32``.

    Raises:
        InputError: If a setting is none of those above, a name is no node's, or a weight is not finite.
        UnsupportedError: If no layer can be stored so, or the model has no form in opset 21.
    """
    _check(block, bits, style, accuracy_level)
    check_nodes(model.graph, keep_float)
    work = onnx.ModelProto()
    work.CopyFrom(raise_opset(model, _BLOCKED_OPSET) if style == "qdq" else model)
    made: dict[str, BlockCodes] = {}
    nodes = []
    for node in work.graph.node:
        weight = None if node.name in keep_float else _weight(work.graph, node)
        if weight is None or len(weight) % block:
            nodes.append(node)
            continue
        key = f"{node.input[1]}{'^T' if attribute(node, 'transB', 0) else ''}"
        if key not in made:
            made[key] = block_codes(weight, block=block, bits=bits, scale=scale)
        nodes += _layer(work.graph, node, made[key], key, style, accuracy_level)
    if not made:
        raise UnsupportedError(
            f"No MatMul or Gemm has a constant weight whose reduction length {block} divides. Choose another block."
        )
    replace_nodes(work.graph, nodes)
    remove_dead(work.graph)
    _stamp(work, model, style, f"w{bits}a{8 if accuracy_level == 4 else 16}-b{block}")
    check_model(work)
    return work


def _check(block: int, bits: int, style: str, accuracy_level: int) -> None:
    if style not in STYLES:
        raise InputError(f"Expected `style` to be one of {', '.join(STYLES)}, got {style!r}.")
    if block not in BLOCKS:
        raise InputError(f"Expected `block` to be one of {', '.join(map(str, BLOCKS))}, got {block}.")
    if bits not in _CONTAINERS:
        raise InputError(f"Expected `bits` of 4 or 8, got {bits}.")
    if accuracy_level not in ACCURACY_LEVELS or (style == "qdq" and accuracy_level):
        raise InputError(f"Expected `accuracy_level` 0, or 4 with style 'matmulnbits', got {accuracy_level}.")


def _weight(graph: onnx.GraphProto, node: onnx.NodeProto) -> NDArray[np.float32] | None:
    """Give the constant (K, N) weight of x @ w (+ b), or None where the node is no such product."""
    if not is_standard(node, "MatMul", "Gemm"):
        return None
    stored = initializers(graph).get(node.input[1])
    if stored is None or stored.data_type != TensorProto.FLOAT or len(stored.dims) != 2 or 0 in stored.dims:
        return None
    if node.op_type == "Gemm" and (
        attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1 or attribute(node, "transA", 0)
    ):
        return None
    values = np.asarray(numpy_helper.to_array(stored), np.float32)
    return values.T if attribute(node, "transB", 0) else values


def _layer(
    graph: onnx.GraphProto, node: onnx.NodeProto, codes: BlockCodes, key: str, style: str, level: int
) -> list[onnx.NodeProto]:
    """Write the nodes of one layer; a Gemm's bias becomes an Add."""
    bias = node.input[2] if len(node.input) > 2 else ""
    product = unique_name(graph, f"{node.output[0]}_product") if bias else node.output[0]
    write = _nbits if style == "matmulnbits" else _dequantized
    nodes = write(graph, node, codes, key, product, level)
    if bias:
        nodes.append(helper.make_node("Add", [product, bias], [node.output[0]], name=f"{_name(node)}_bias"))
    return nodes


def _nbits(
    graph: onnx.GraphProto, node: onnx.NodeProto, codes: BlockCodes, key: str, product: str, level: int
) -> list[onnx.NodeProto]:
    names = [f"{key}_w{codes.bits}", f"{key}_scales"]
    _add(graph, numpy_helper.from_array(pack_blocks(codes), names[0]))
    _add(graph, numpy_helper.from_array(np.ascontiguousarray(codes.scales.T), names[1]))
    inputs, outputs = codes.codes.shape
    sizes = {"K": inputs, "N": outputs, "bits": codes.bits, "block_size": codes.block, "accuracy_level": level}
    made = helper.make_node("MatMulNBits", [node.input[0], *names], [product], name=_name(node), domain=_MICROSOFT)
    made.attribute.extend(helper.make_attribute(name, value) for name, value in sizes.items())
    return [made]


def _dequantized(
    graph: onnx.GraphProto, node: onnx.NodeProto, codes: BlockCodes, key: str, product: str, level: int
) -> list[onnx.NodeProto]:
    names = [f"{key}_w{codes.bits}", f"{key}_scales"]
    _add(graph, _container(codes, names[0]))
    _add(graph, numpy_helper.from_array(codes.scales, names[1]))
    value = unique_name(graph, f"{node.output[0]}_weight")
    dequantize = helper.make_node("DequantizeLinear", names, [value], name=f"{_name(node)}_weight", axis=0)
    dequantize.attribute.append(helper.make_attribute("block_size", codes.block))
    return [dequantize, helper.make_node("MatMul", [node.input[0], value], [product], name=_name(node))]


def _name(node: onnx.NodeProto) -> str:
    return str(node.name or node.output[0])


def _container(codes: BlockCodes, name: str) -> onnx.TensorProto:
    shape = codes.codes.shape
    flat = codes.codes.reshape(-1)
    if codes.bits == 4:
        flat = pack_nibbles(np.pad(flat, (0, math.prod(shape) % 2))).view(np.int8)
    return helper.make_tensor(name, _CONTAINERS[codes.bits], shape, flat.tobytes(), raw=True)


def _add(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> None:
    """Add a constant once; layers that share a weight share its codes."""
    if tensor.name not in {known.name for known in graph.initializer}:
        graph.initializer.append(tensor)


def _stamp(work: onnx.ModelProto, model: onnx.ModelProto, style: str, precision: str) -> None:
    facts = {
        "robustmq.profile": PROFILES[style].replace("4", precision[1]),
        "robustmq.precision": precision,
        "robustmq.source_sha256": sha256_bytes(serialize(model)),
    }
    helper.set_model_props(work, {**{entry.key: entry.value for entry in model.metadata_props}, **facts})
    if style == "matmulnbits" and all(entry.domain != _MICROSOFT for entry in work.opset_import):
        work.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    work.ir_version = MAX_IR_VERSION
    work.producer_name = "robustmq-trt"
    del work.graph.value_info[:]
