"""Models without activation grids: 4-bit weights in blocks, in both spellings, and half precision."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from ..core.recipe import Recipe
from ..export.float16 import to_float16
from ..export.int4_blocks import quantize_blocks
from .grids import Made, Make

_INT8_ACTIVATIONS = 4  # ONNX Runtime's accuracy level that rounds activations to int8; no other spelling has it


def gridless_maker(recipe: Recipe, model: ModelProto) -> Make:
    """Give what builds the model for a set of float layers; no image is looked at.

    Args:
        recipe: Its precision has a block, or is fp16.
        model: The prepared float model.
    """
    block = recipe.precision.block
    if block is None:
        return lambda kept: Made(native=to_float16(model, keep_float=recipe.keeping(kept).float_layers))
    return _block_maker(recipe, model, block)


def _block_maker(recipe: Recipe, model: ModelProto, block: int) -> Make:
    precision = recipe.precision
    level = _INT8_ACTIVATIONS if precision.activations == 8 else 0
    scale = "mse" if recipe.remedies.rounding == "mse" else "max"

    def make(kept: Sequence[str]) -> Made:
        names = recipe.keeping(kept).float_layers
        native = quantize_blocks(model, block=block, accuracy_level=level, scale=scale, keep_float=names)
        if level:
            return Made(native=native, notes=("int8 activations are ONNX Runtime's own: there is no other spelling",))
        canonical = quantize_blocks(model, block=block, style="qdq", scale=scale, keep_float=names)
        return Made(native=native, canonical=canonical)

    return make
