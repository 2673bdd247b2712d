"""A dynamic batch for models exported with a fixed one, where it provably changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx

from ..core.errors import InputError
from .graph import STANDARD, attribute, initializers, is_standard, node_reads, set_reshape_target, values
from .operators import BROADCAST, PER_SAMPLE, REDUCING
from .shapes import Dims, dims, infer_shapes, shape_table

BATCH = "N"

_AXIS = {"Softmax": -1, "LogSoftmax": -1, "Split": 0, "LayerNormalization": -1}


def make_batch_dynamic(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Give a copy with batch axis ``N``, or the model itself and the reason why not.

    A Reshape target that names the batch becomes 0 ("as in the input"). The change is made only if every operator on
    the way from the input to the outputs is known to treat the samples of a batch separately.

    Args:
        model: A model with folded constants and inferred shapes.

    Returns:
        The model and a note; the note is empty where the batch is dynamic now.
    """
    image = _image_input(model.graph)
    if image is None:
        return model, "The batch stays as it is: the model has not exactly one input."
    declared = dims(image)
    if not declared:
        return model, "The batch stays as it is: the input's rank is unknown."
    work = onnx.ModelProto()
    work.CopyFrom(model)
    if isinstance(declared[0], int):
        reason = _rewrite(work.graph, shape_table(model), image.name)
        if reason:
            return model, f"The batch stays fixed at {declared[0]}: {reason}."
    return _with_symbol(work, model, declared[0])


def _image_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto | None:
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in stored]
    return inputs[0] if len(inputs) == 1 else None


def _with_symbol(
    work: onnx.ModelProto, original: onnx.ModelProto, batch: int | str | None
) -> tuple[onnx.ModelProto, str]:
    image = _image_input(work.graph)
    assert image is not None
    if not isinstance(batch, str):
        image.type.tensor_type.shape.dim[0].dim_param = BATCH
    name = image.type.tensor_type.shape.dim[0].dim_param
    for output in work.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        inferred = infer_shapes(work)
    except InputError:
        return original, "The batch stays as it is: the shapes contradict each other with another one."
    if isinstance(batch, int) and any((dims(output) or (None,))[0] != name for output in inferred.graph.output):
        return original, f"The batch stays fixed at {batch}: it does not reach the output."
    return inferred, ""


def _rewrite(graph: onnx.GraphProto, shapes: Mapping[str, Dims], image: str) -> str:
    """Rewrite Reshape targets in place; give the reason why the batch cannot be dynamic, or nothing."""
    carried = {image}
    for node in graph.node:
        if not carried.intersection(node_reads(node)):
            continue
        if not _separates(graph, node, carried, shapes):
            return f"{node.op_type} '{node.name}' may mix the images of a batch or depend on their number"
        carried.update(node.output)
    return ""


def _separates(graph: onnx.GraphProto, node: onnx.NodeProto, carried: set[str], shapes: Mapping[str, Dims]) -> bool:
    """Tell whether a node keeps the batch on axis 0 of its output and treats each sample alone."""
    data = shapes.get(node.input[0]) if node.input else None
    if node.domain not in STANDARD or not data:
        return False
    if node.op_type in BROADCAST:
        return _broadcasts(node, carried, shapes)
    if is_standard(node, "Concat"):
        return carried.issuperset(node.input) and attribute(node, "axis", 0) % len(data) != 0
    if node.input[0] not in carried or carried.intersection(node.input[1:]):
        return False
    if node.op_type in PER_SAMPLE:
        return True
    if node.op_type in _AXIS:
        return bool(attribute(node, "axis", _AXIS[node.op_type]) % len(data) != 0)
    return _separates_by_operand(graph, node, data, shapes)


def _broadcasts(node: onnx.NodeProto, carried: set[str], shapes: Mapping[str, Dims]) -> bool:
    ranks = {name: len(shapes.get(name, ())) for name in node.input}
    batched = [ranks[name] for name in node.input if name in carried]
    rank = max(ranks.values())
    if any(name not in shapes for name in node.input) or set(batched) != {rank}:
        return False
    if node.op_type == "MatMul" and (rank < 2 or (rank == 2 and node.input[1] in carried)):
        return False
    if node.op_type == "MatMul" and rank == 2:
        return True
    constant = [shapes[name] for name in node.input if name not in carried]
    return all(len(shape) < rank or shape[0] == 1 for shape in constant)


def _separates_by_operand(graph: onnx.GraphProto, node: onnx.NodeProto, data: Dims, shapes: Mapping[str, Dims]) -> bool:
    rank = len(data)
    if is_standard(node, "Reshape"):
        return _keep_batch_in_reshape(graph, node, data, shapes.get(node.output[0]))
    if is_standard(node, "Transpose"):
        return bool(attribute(node, "perm", list(range(rank))[::-1])[0] == 0)
    if is_standard(node, "Flatten"):
        return bool(attribute(node, "axis", 1) % rank == 1)
    if is_standard(node, "Gemm"):
        bias = shapes.get(node.input[2], (0, 0)) if len(node.input) > 2 and node.input[2] else ()
        return not attribute(node, "transA", 0) and (len(bias) < 2 or bias[0] == 1)
    if is_standard(node, "Pad"):
        pads = _integers(graph, node, 1)
        return pads is not None and len(node.input) < 4 and pads[0] == 0 and pads[len(pads) // 2] == 0
    if is_standard(node, "Gather"):
        return bool(attribute(node, "axis", 0) % rank != 0)
    if is_standard(node, "Slice"):
        axes = _integers(graph, node, 3)
        return axes is not None and all(axis % rank != 0 for axis in axes)
    if node.op_type in REDUCING:
        return _keeps_first_axis(graph, node, rank, shapes)
    if is_standard(node, "Resize"):
        scales = values(initializers(graph), node.input[2:3]) if len(node.input) == 3 and node.input[2] else None
        return scales is not None and scales[0].size == rank and scales[0][0] == 1
    return False


def _keeps_first_axis(graph: onnx.GraphProto, node: onnx.NodeProto, rank: int, shapes: Mapping[str, Dims]) -> bool:
    axes: list[int] = attribute(node, "axes", None) or _integers(graph, node, 1) or []
    if node.op_type == "Unsqueeze":
        rank = len(shapes.get(node.output[0], ()))
    return len(axes) > 0 and rank > 0 and all(axis % rank != 0 for axis in axes)


def _integers(graph: onnx.GraphProto, node: onnx.NodeProto, index: int) -> list[int] | None:
    names = [name for name in node.input[index : index + 1] if name]
    found = values(initializers(graph), names) if names else None
    return [int(item) for item in found[0].ravel()] if found else None


def _keep_batch_in_reshape(graph: onnx.GraphProto, node: onnx.NodeProto, data: Dims, result: Dims | None) -> bool:
    target = _integers(graph, node, 1)
    sizes = (*data, *(result or ()))
    if not target or not result or not all(isinstance(size, int) and size > 0 for size in sizes):
        return False
    inner = math.prod(size for size in data[1:] if isinstance(size, int))
    if data[0] != result[0] or inner != math.prod(size for size in result[1:] if isinstance(size, int)):
        return False
    # Only the batch is left to the input; every other size is what inference found, so that no second -1 is needed.
    set_reshape_target(graph, node, [0, *(size for size in result[1:] if isinstance(size, int))])
    return True
