"""The road from a user's ONNX graph to the clean float graph that calibration and quantization expect."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import inliner, version_converter

from ..core.errors import InputError, UnsupportedError
from .dynamic_batch import make_batch_dynamic
from .fold_batchnorm import fold_batchnorm, refuse_training_mode
from .fold_constants import fold_constants, lift_constants
from .fold_shapes import fold_shapes
from .fold_types import fold_types
from .graph import initializers, remove_dead
from .onnx_file import check_model, one_line, opset
from .remove_noops import remove_noops
from .shapes import infer_shapes
from .single_precision import to_single

MIN_OPSET = 13  # the first with per-channel scales in DequantizeLinear
MAX_IR_VERSION = 10  # newer files are not read by runtimes that are still deployed
_MAX_ROUNDS = 8
_INTEGER = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger")
_WIDENED = "the model is in float16: its weights are taken as they are, its activations are not rounded to float16 here"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model ready for calibration.

    Attributes:
        model: The float graph: constants and BatchNorm folded, shapes known, batch dynamic where possible.
        notes: What the user should know, e.g. why the batch stays fixed; one sentence each.
    """

    model: onnx.ModelProto
    notes: tuple[str, ...]


def prepare(model: onnx.ModelProto) -> Prepared:
    """Clean a float model without changing what it computes (up to float rounding).

    Converts opsets below 13, inlines functions, widens float16 to float32, removes Identity and Dropout, folds
    constants, shape arithmetic and BatchNorm, drops what nothing reads, names every node, and makes a fixed batch
    dynamic where that is provably safe.

    Args:
        model: A checked model, as `read_model` gives it; not changed.

    Returns:
        The cleaned model and the notes.

    Raises:
        InputError: If the graph's shapes contradict each other, or it computes on integers already.
        UnsupportedError: If the opset cannot be converted, or the graph is in training mode.
    """
    _refuse_integer_operators(model.graph)
    work = onnx.ModelProto()
    work.CopyFrom(model)
    work = raise_opset(_inline(work), MIN_OPSET)
    _normalise(work.graph)
    notes = [_WIDENED] if to_single(work.graph) else []
    refuse_training_mode(work.graph)
    work = _fold(work)
    fold_batchnorm(work.graph)
    work, note = make_batch_dynamic(infer_shapes(work))
    work = infer_shapes(_fold(work))
    work.ir_version = min(work.ir_version, MAX_IR_VERSION)
    check_model(work)
    return Prepared(model=work, notes=(*notes, *([note] if note else [])))


def _refuse_integer_operators(graph: onnx.GraphProto) -> None:
    found = next((node for node in graph.node if node.op_type.startswith(_INTEGER)), None)
    if found is not None:
        raise InputError(
            f"The model computes on integers already ({found.op_type} '{found.name}'), so it has no gradients and "
            "nothing is left to quantize. Give the float model it was made from; for transfer attacks as --surrogate."
        )


def raise_opset(model: onnx.ModelProto, least: int) -> onnx.ModelProto:
    """Convert a model to an opset of at least ``least``; a newer one is given back as it is.

    Raises:
        UnsupportedError: If an operator has no form in that opset.
    """
    version = opset(model)
    if version >= least:
        return model
    try:
        return version_converter.convert_version(model, least)
    except (version_converter.ConvertError, RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UnsupportedError(
            f"The model has opset {version} and cannot be converted to {least}: {one_line(error)}. "
            f"Export it with an opset of {least} to 20."
        ) from error


def _inline(model: onnx.ModelProto) -> onnx.ModelProto:
    if not model.functions:
        return model
    try:
        return inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UnsupportedError(f"The model's functions cannot be inlined: {one_line(error)}.") from error


def _normalise(graph: onnx.GraphProto) -> None:
    _drop_default_inputs(graph)
    _name_nodes(graph)
    lift_constants(graph)
    remove_noops(graph)
    remove_dead(graph)


def _drop_default_inputs(graph: onnx.GraphProto) -> None:
    """Make weights constants that old exporters listed as inputs with a default value."""
    stored = {tensor.name for tensor in graph.initializer}
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in stored:
            del graph.input[index]


def _name_nodes(graph: onnx.GraphProto) -> None:
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        while node.name in seen:
            node.name += "_"
        seen.add(node.name)


def _fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Alternate shape inference and folding until nothing changes."""
    for _ in range(_MAX_ROUNDS):
        before = _size(model)
        model = infer_shapes(model)
        fold_types(model)
        remove_noops(model.graph)
        fold_shapes(model)
        fold_constants(model)
        remove_dead(model.graph)
        if _size(model) == before:
            break
    return model


def _size(model: onnx.ModelProto) -> tuple[int, int]:
    return len(model.graph.node), len(initializers(model.graph))
