"""A float model in half precision, float32 at its input and output. What computes in half is the runtime's choice."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..core.errors import UnsupportedError
from ..core.files import sha256_bytes
from .graph import attribute, check_nodes, is_standard, replace_nodes, set_attribute
from .onnx_file import check_model, serialize
from .prepare import MAX_IR_VERSION
from .shapes import infer_shapes

_LARGEST = float(np.finfo(np.float16).max)
_ALWAYS_SINGLE = {"Resize": (2,), "Upsample": (1,)}  # operator to inputs whose type ONNX fixes to float32


def to_float16(model: onnx.ModelProto, *, keep_float: Collection[str] = ()) -> onnx.ModelProto:
    """Store the weights in float16 and compute activations in it, between a Cast at the input and one at the output.

    Activations that leave float16's range become infinite, which no file can show: measure the accuracy.

    Args:
        model: A prepared float model; not changed.
        keep_float: Names of nodes that stay in float32, a Cast before and behind each.

    Returns:
        The model, with precision ``fp16`` and the source's sha256 in its metadata.

    Raises:
        InputError: If a name in ``keep_float`` is no node's.
        UnsupportedError: If a weight does not fit into float16.
    """
    check_nodes(model.graph, keep_float)
    work = infer_shapes(model)
    single = _single_tensors(work.graph)
    names = {name: f"{name}_half" for name in single - {tensor.name for tensor in work.graph.initializer}}
    nodes = list(_rewritten(work.graph, single, names, keep_float))
    _store_half(work.graph, {name for node in nodes for name in node.input})
    replace_nodes(work.graph, nodes)
    _stamp(work, model)
    check_model(work)
    return work


def _single_tensors(graph: onnx.GraphProto) -> set[str]:
    """Name every tensor of type float32, constant or not."""
    described = (*graph.value_info, *graph.input, *graph.output)
    found = {entry.name for entry in described if entry.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _rewritten(
    graph: onnx.GraphProto, single: set[str], names: dict[str, str], keep_float: Collection[str]
) -> Iterator[onnx.NodeProto]:
    """Give the nodes in order: activations under the names of their halves, Casts where the type changes."""
    for entry in graph.input:
        if entry.name in names:
            yield _cast(entry.name, names[entry.name], TensorProto.FLOAT16)
    for node in graph.node:
        yield from _single(node, names) if node.name in keep_float else _half(node, single, names)
    for entry in graph.output:
        if entry.name in names:
            yield _cast(names[entry.name], entry.name, TensorProto.FLOAT)


def _half(node: onnx.NodeProto, single: set[str], names: dict[str, str]) -> Iterator[onnx.NodeProto]:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    for index, name in enumerate(node.input):
        if index not in _ALWAYS_SINGLE.get(node.op_type, ()):
            made.input[index] = names.get(name, f"{name}_half" if name in single else name)
    for index, name in enumerate(node.output):
        made.output[index] = names.get(name, name)
    if is_standard(node, "Cast") and attribute(node, "to", 0) == TensorProto.FLOAT:
        set_attribute(made, "to", TensorProto.FLOAT16)
    yield made


def _single(node: onnx.NodeProto, names: dict[str, str]) -> Iterator[onnx.NodeProto]:
    """Give a node that stays in float32, its inputs widened before it and its outputs halved behind it."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    for index, name in enumerate(node.input):
        if name in names:
            made.input[index] = f"{name}_for_{node.name}_{index}"
            yield _cast(names[name], made.input[index], TensorProto.FLOAT)
    for index, name in enumerate(node.output):
        made.output[index] = f"{name}_single" if name in names else name
    yield made
    for name in node.output:
        if name in names:
            yield _cast(f"{name}_single", names[name], TensorProto.FLOAT16)


def _store_half(graph: onnx.GraphProto, read: set[str]) -> None:
    """Add the half of every float32 constant that is read as such, and drop the constants nobody reads any more."""
    for tensor in list(graph.initializer):
        if f"{tensor.name}_half" in read and tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            peak = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
            if peak > _LARGEST:
                raise UnsupportedError(
                    f"Constant '{tensor.name}' holds {peak:.3g}, more than float16's {_LARGEST:g}. Keep its layer in "
                    "float, or build w8a8."
                )
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_half"))
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=to)


def _stamp(work: onnx.ModelProto, model: onnx.ModelProto) -> None:
    facts = {"robustmq.precision": "fp16", "robustmq.source_sha256": sha256_bytes(serialize(model))}
    helper.set_model_props(work, {**{entry.key: entry.value for entry in model.metadata_props}, **facts})
    work.ir_version = min(work.ir_version, MAX_IR_VERSION)
    work.producer_name = "robustmq-trt"
    del work.graph.value_info[:]
