"""A QDQ file on 8-bit grids in, one on grids of 2-8 bits out, for the same int8 kernels. Nothing is chosen here.

Weights need only other values. An activation keeps its 8-bit container, gets a wider step, and an integer Clip on its
codes; the kernels around it stay what they were.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper, numpy_helper

from ..core.codes import WeightCodes
from ..core.errors import InputError
from ..core.ranges import RangeTable
from ..core.recipe import Recipe
from .graph import initializers
from .grid_activations import asked_bits, owner, put_activations, scale_groups
from .grid_ranges import effective_ranges
from .grid_weights import put_weights
from .layer_bits import layer_bits
from .onnx_file import check_model
from .wiring import Wiring

_GRID = "robustmq.grid"


def to_grid(
    quantized: onnx.ModelProto,
    model: onnx.ModelProto,
    ranges: RangeTable,
    *,
    recipe: Recipe,
    weights: Mapping[str, WeightCodes] | None = None,
) -> onnx.ModelProto:
    """Put the weights and activations of an 8-bit QDQ file on the grids of a recipe, executed by the same int8 kernels.

    Tensors that share a scale (behind Reshape, MaxPool, ...) go on sharing it, on the most bits a reader asks for.
    Constants of Add and Mul keep 8 bits. An int32 bias follows its new scale, input's times weight's; where that would
    overflow, the channel's weight scale grows, as in ONNX Runtime's quantizer. A float bias is rounded to the same
    step. With 8 bits everywhere the file stays as it was, but for biases in which the model differs.

    Args:
        quantized: What `quantize` made, with recipe's float layers in ``keep_float``; not changed.
        model: The float model whose weights and biases count: the one ``quantized`` was made from, or the same one
            with corrected biases.
        ranges: Where the activations are clipped; it may differ from the table of the 8-bit file, since the best range
            narrows with the bits.
        recipe: Bits by layer.
        weights: Codes by the initializer's name in ``model``; a weight that is missing is rounded to nearest.

    Returns:
        The QDQ model, its precision and grid in its metadata.

    Raises:
        InputError: If the recipe names an unknown layer, codes do not fit their weight or the recipe, a range is
            missing, or the file is on a grid below 8 bits already.
    """
    if any(entry.key == _GRID for entry in quantized.metadata_props):
        raise InputError("The file is on a narrower grid already. Pass what `quantize` made.")
    bits = layer_bits(model, recipe)
    work = onnx.ModelProto()
    work.CopyFrom(quantized)
    put_activations(work.graph, bits, effective_ranges(model, ranges))
    floats = {
        name: numpy_helper.to_array(tensor)
        for name, tensor in initializers(model.graph).items()
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    put_weights(work.graph, floats, bits, weights or {})
    facts = {entry.key: entry.value for entry in work.metadata_props}
    own = {"robustmq.precision": str(recipe.precision), _GRID: recipe.describe()}
    helper.set_model_props(work, {**facts, **own})
    check_model(work)
    return work


def activation_bits(quantized: onnx.ModelProto, model: onnx.ModelProto, recipe: Recipe) -> dict[str, int]:
    """Give the bits of every activation with a scale of its own, by the tensor's name, in the order of computation.

    Args:
        quantized: What `quantize` made.
        model: The float model it was made from.
        recipe: Bits by layer.

    Raises:
        InputError: If the recipe does not fit the model.
    """
    bits = layer_bits(model, recipe)
    wiring = Wiring.of(quantized.graph)
    groups = scale_groups(quantized.graph, wiring)
    return {owner(scale): asked_bits(wiring, group, bits) for scale, group in groups.items()}
