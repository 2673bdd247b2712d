"""Models in formats that no integer kernel takes: 16-bit activations, and FP8; each is an export, and says so."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from ..core.recipe import Recipe
from ..export.lint import lint
from ..export.wide import quantize_wide
from .calibration import Calibration
from .grids import Made, Make


def wide_maker(recipe: Recipe, model: ModelProto, calibration: Calibration) -> Make:
    """Give what builds the model for a set of float layers.

    Args:
        recipe: Its precision is ``w8a16`` or ``fp8``.
        model: The prepared float model.
        calibration: Its ranges.
    """
    table = calibration.tables[8]
    precision = str(recipe.precision)
    runs = "simulation: and openvino:" if recipe.precision.e4m3 else "ONNX Runtime and OpenVINO, in float"

    def make(kept: Sequence[str]) -> Made:
        wide = quantize_wide(model, table, precision=precision, keep_float=recipe.keeping(kept).float_layers)
        errors = sum(finding.severity == "error" for finding in lint(wide))
        refused = f"refused by TensorRT's rules ({errors} findings)" if errors else "within TensorRT's rules"
        return Made(native=wide, table=table, notes=(f"{precision} is an export: run by {runs}; {refused}",))

    return make
