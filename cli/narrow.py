"""The part of a build below 8 bits: ranges for each width, weights rounded by what they do to the layers' outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ..calib.calibrate import calibrate
from ..calib.fake_quant import Grid
from ..calib.weights import WeightRecipe, choose_weights
from ..core.provenance import available_cores
from ..core.ranges import RangeTable
from ..core.recipe import Recipe
from ..export.grid import activation_bits, to_grid
from ..export.grid_ranges import effective_ranges
from ..export.layer_bits import weight_bits
from .progress import Progress

Batches = Callable[[], Iterable[NDArray[np.float32]]]
ROUNDINGS = ("nearest", "mse", "gptq")


def narrowed(
    eight: ModelProto,
    model: ModelProto,
    table: RangeTable,
    *,
    recipe: Recipe,
    rounding: str,
    batches: Batches | None,
    threads: int | None,
    progress: Progress,
) -> tuple[ModelProto, RangeTable]:
    """Put an 8-bit QDQ file on the grids of a recipe.

    Args:
        eight: The 8-bit QDQ file.
        model: The float model it was made from.
        table: Its ranges.
        recipe: Bits by layer.
        rounding: How weights are rounded, one of ``ROUNDINGS``.
        batches: Gives the calibration images; None where there are none: then ``table`` and ``nearest`` have to do.
        threads: Threads of the calibration.
        progress: Shows how far it is.

    Returns:
        The QDQ file, and the ranges its activations have.
    """
    if batches is None:
        return to_grid(eight, model, table, recipe=recipe), table
    bits = activation_bits(eight, model, recipe)
    table = _own_widths(model, table, bits, batches, threads, progress)
    if rounding == "nearest":
        return to_grid(eight, model, table, recipe=recipe), table
    limits = effective_ranges(model, table)
    grids = {name: Grid(low=limits[name][0], high=limits[name][1], bits=width) for name, width in bits.items()}
    progress.stage(f"Rounding the weights ({rounding})")
    widths = weight_bits(model, recipe)
    chosen = choose_weights(
        model,
        batches,
        recipe=WeightRecipe(bits=recipe.precision.weights, overrides=widths, method=rounding),
        grids=grids,
        threads=threads or available_cores(),
        progress=progress,
    )
    codes = {name: chosen.codes[name] for name in widths}  # layers in float have no codes
    return to_grid(eight, chosen.model, table, recipe=recipe, weights=codes), table


def _own_widths(
    model: ModelProto,
    table: RangeTable,
    bits: dict[str, int],
    batches: Batches,
    threads: int | None,
    progress: Progress,
) -> RangeTable:
    """Choose each activation's range for its own number of levels: what is best for 256 is too wide for 16."""
    methods = {width: f"mse:{width}" for width in sorted(set(bits.values())) if width < 8}
    if not methods:
        return table
    progress.stage("Calibrating below 8 bits (mse)")
    found = calibrate(model, batches, methods=list(methods.values()), threads=threads)
    narrow = {name: found[methods[width]][name] for name, width in bits.items() if width < 8}
    method = f"{table.method}; below 8 bits mse for the width"
    return replace(table, method=method, ranges={**table.ranges, **narrow})
