"""Constant folding: what depends on constants only is computed once, by ONNX's reference implementation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from .graph import STANDARD, add_initializer, attribute, has_subgraph, initializers, replace_nodes, values
from .operators import FOLDABLE

SMALL_BYTES = 1 << 16  # a folded result may always be this large, even where its inputs are smaller


def fold_constants(model: onnx.ModelProto) -> None:
    """Replace nodes that depend on constants only by their value, in place.

    A result larger than both its inputs and 64 KiB is left to the runtime, so that the file does not grow. A node the
    reference implementation cannot compute is left as it is.
    """
    graph = model.graph
    outputs = {entry.name for entry in graph.output}
    known = initializers(graph)
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        results = None if outputs.intersection(node.output) else _evaluate(node, known, model)
        if results is None:
            kept.append(node)
            continue
        for name, value in results.items():
            known[name] = numpy_helper.from_array(value, name)
            add_initializer(graph, name, value)
    if len(kept) < len(graph.node):
        replace_nodes(graph, kept)


def lift_constants(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes into initializers, in place, so that every constant is found in one place."""
    kept = []
    outputs = {entry.name for entry in graph.output}
    for node in graph.node:
        value = _constant(node)
        if value is None or node.output[0] in outputs:
            kept.append(node)
        else:
            value.name = node.output[0]
            graph.initializer.append(value)
    replace_nodes(graph, kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or node.domain not in STANDARD or len(node.attribute) != 1:
        return None
    kind = node.attribute[0].name
    value = attribute(node, kind, None)
    if kind == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        return tensor
    dtype = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    return numpy_helper.from_array(np.asarray(value, dtype[kind])) if kind in dtype else None


def _evaluate(
    node: onnx.NodeProto, known: dict[str, onnx.TensorProto], model: onnx.ModelProto
) -> dict[str, NDArray[Any]] | None:
    if node.op_type not in FOLDABLE or node.domain not in STANDARD or has_subgraph(node):
        return None
    names = list(dict.fromkeys(name for name in node.input if name))
    arrays = values(known, names) if names else None
    if arrays is None:
        return None
    single = _single_node_model(node, dict(zip(names, arrays, strict=True)), model)
    if not _stays_small(single, sum(array.nbytes for array in arrays)):
        return None
    return _run(single)


def _single_node_model(
    node: onnx.NodeProto, constants: dict[str, NDArray[Any]], model: onnx.ModelProto
) -> onnx.ModelProto:
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "folded", [], outputs, tensors)
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=min(model.ir_version, 10))


def _stays_small(single: onnx.ModelProto, bytes_in: int) -> bool:
    try:
        inferred = shape_inference.infer_shapes(single, strict_mode=True, data_prop=True)
        return all(_bytes(entry) <= max(bytes_in, SMALL_BYTES) for entry in inferred.graph.output)
    except (shape_inference.InferenceError, KeyError, RuntimeError, ValueError, TypeError):
        return False


def _bytes(entry: onnx.ValueInfoProto) -> float:
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return math.inf
    itemsize = helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    return float(math.prod(dim.dim_value for dim in tensor.shape.dim) * itemsize)


def _run(single: onnx.ModelProto) -> dict[str, NDArray[Any]] | None:
    names = [entry.name for entry in single.graph.output]
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(single).run(None, {})
    except Exception:  # a folded node is an optimisation: whatever the reference cannot do stays in the graph
        return None
    arrays = [np.asarray(result) for result in results]
    return dict(zip(names, arrays, strict=True)) if all(array.dtype != object for array in arrays) else None
