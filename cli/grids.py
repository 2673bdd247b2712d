"""Models on grids of 2-8 bits for one set of float layers after the other; images and weights are looked at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from onnx import ModelProto

from ..calib.fake_quant import Grid
from ..calib.layers import initializer, set_initializer, weighted_layers
from ..calib.weights import ChosenWeights, WeightRecipe, choose_weights
from ..core.provenance import available_cores
from ..core.ranges import RangeTable
from ..core.recipe import Recipe
from ..core.remedies import SECOND_ORDER, Remedies
from ..export.grid import activation_bits, to_grid
from ..export.grid_ranges import effective_ranges
from ..export.layer_bits import weight_bits
from ..export.lower import lower
from ..export.profiles import NATIVE, find_profile
from ..export.qdq import quantize
from ..export.widen_channels import widen_channels
from .calibration import Calibration
from .progress import Progress
from .request import BuildRequest

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Made:
    """One quantized model.

    Attributes:
        native: What ONNX Runtime runs.
        canonical: The file for TensorRT and OpenVINO where that is another one, or None.
        table: The ranges its activations have, or None where they have none.
        notes: What the user should know.
    """

    native: ModelProto
    canonical: ModelProto | None = None
    table: RangeTable | None = None
    notes: tuple[str, ...] = ()


Make = Callable[[Sequence[str]], Made]
"""Gives the quantized model that leaves the named nodes in float."""


def activation_widths(recipe: Recipe) -> list[int]:
    """Give the widths that activations may have in a build, whatever stays in float."""
    rules = (rule.activations for rule in recipe.layers.values())
    return sorted({8, recipe.precision.activations, *(bits for bits in rules if bits is not None)})


def grid_maker(request: BuildRequest, model: ModelProto, calibration: Calibration, progress: Progress) -> Make:
    """Choose weights, once, and give what builds the model around them.

    The weights are chosen with the recipe's float layers in float and all others on their grids. A layer that is left
    in float later keeps its float weights and bias; the layers behind it keep the codes they have.

    Args:
        request: What is built.
        model: The float model, equalised and smoothed if it is to be.
        calibration: Its ranges and images.
        progress: Shows how far it is.
    """
    images = calibration.images is not None
    remedies = request.recipe.remedies.for_width(narrow=request.recipe.narrow, images=images)
    chosen = _chosen(request, remedies, model, calibration, progress) if remedies.for_weights else None

    def make(kept: Sequence[str]) -> Made:
        recipe = request.recipe.keeping(kept)
        eight = quantize(model, calibration.tables[8], profile=request.profile, keep_float=recipe.float_layers)
        quantized, table = _on_grid(eight, model, recipe, calibration.tables, chosen)
        if request.profile == NATIVE:
            return Made(native=widen_channels(quantized), table=table)
        lowered = lower(quantized)
        native = widen_channels(lowered.model)
        return Made(native=native, canonical=quantized, table=table, notes=lowered.notes)

    return make


def _on_grid(
    eight: ModelProto,
    model: ModelProto,
    recipe: Recipe,
    tables: Mapping[int, RangeTable],
    chosen: ChosenWeights | None,
) -> tuple[ModelProto, RangeTable]:
    if chosen is None and not recipe.narrow:
        return eight, tables[8]
    table = _for_widths(tables, activation_bits(eight, model, recipe))
    if chosen is None:
        return to_grid(eight, model, table, recipe=recipe), table
    widths = weight_bits(model, recipe)
    codes = {name: code for name, code in chosen.codes.items() if widths.get(name) == code.bits}
    behind = _with_own_biases(chosen.model, model, recipe)
    return to_grid(eight, behind, table, recipe=recipe, weights=codes), table


def _for_widths(tables: Mapping[int, RangeTable], bits: Mapping[str, int]) -> RangeTable:
    """Give every activation the range that was chosen for its own number of levels."""
    narrow = {name: tables[width].ranges for name, width in bits.items() if width < 8}
    if not narrow or all(ranges is tables[8].ranges for ranges in narrow.values()):
        return tables[8]
    own = {name: ranges[name] for name, ranges in narrow.items() if name in ranges}
    method = f"{tables[8].method}; below 8 bits mse for the width"
    return replace(tables[8], method=method, ranges={**tables[8].ranges, **own})


def _chosen(
    request: BuildRequest, remedies: Remedies, model: ModelProto, calibration: Calibration, progress: Progress
) -> ChosenWeights:
    """Round the weights by what they do to the layers' outputs."""
    recipe = request.recipe
    assert calibration.images is not None
    assert remedies.rounding is not None
    eight = quantize(model, calibration.tables[8], profile=request.profile, keep_float=recipe.float_layers)
    bits = activation_bits(eight, model, recipe)
    limits = effective_ranges(model, _for_widths(calibration.tables, bits))
    progress.stage(f"Rounding the weights ({remedies.rounding})")
    widths = weight_bits(model, recipe)
    return choose_weights(
        model,
        calibration.images.batches,
        recipe=WeightRecipe(
            bits=recipe.precision.weights,
            overrides=widths,
            keep=_float_weights(model, widths),
            method="gptq" if remedies.rounding in SECOND_ORDER else remedies.rounding,
            refine=remedies.rounding == "refined",
            compensate=bool(remedies.compensate),
            bias_correction=bool(remedies.bias_correction),
        ),
        grids=_grids(limits, bits, symmetric=find_profile(request.profile).symmetric_activations),
        threads=request.threads or available_cores(),
        progress=progress,
    )


def _grids(limits: Ranges, bits: Mapping[str, int], *, symmetric: bool) -> dict[str, Grid]:
    """Give the grids of the activations; symmetric ones span as much on either side of zero."""
    grids = {}
    for name, width in bits.items():
        low, high = limits[name]
        peak = max(abs(low), abs(high))
        low, high = (-peak, peak) if symmetric else (low, high)
        grids[name] = Grid(low=low, high=high, bits=width)
    return grids


def _float_weights(model: ModelProto, widths: Mapping[str, int]) -> frozenset[str]:
    return frozenset(layer.weight for layer in weighted_layers(model) if layer.weight not in widths)


def _with_own_biases(corrected: ModelProto, model: ModelProto, recipe: Recipe) -> ModelProto:
    """Give the corrected model with the float layers' own biases: their weights were not rounded."""
    names = {node.output[0]: node.name for node in model.graph.node if node.output}
    kept = set(recipe.float_layers)
    biases = [layer.bias for layer in weighted_layers(model) if layer.bias and names[layer.output] in kept]
    if not biases:
        return corrected
    copy = ModelProto()
    copy.CopyFrom(corrected)
    for name in biases:
        set_initializer(copy, name, initializer(model, name))
    return copy
