"""Weights on a low-bit grid, layer after layer: equalise, choose scales, round, correct biases; each is a switch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from ..core.codes import WeightCodes, level_limit, round_to_nearest
from ..core.errors import unknown
from .bias import corrected_bias
from .fake_quant import Grid, on_grids
from .frontier import Frontier
from .gram import Moments, layer_moments
from .layers import Doubles, Floats, Layer, from_rows, initializer, set_initializer, to_rows, weighted_layers
from .prefix import runner
from .rounding import DAMPING, damped, gptq_rows, output_error, refine_rows
from .weight_scales import mse_codes, mse_scales

METHODS = ("nearest", "mse", "gptq")
Batches = Callable[[], Iterable[Floats]]


@dataclass(frozen=True, kw_only=True)
class WeightRecipe:
    """How weights are put on a grid.

    Attributes:
        bits: Width of the grid, 2..8.
        overrides: Other widths by the weight's name.
        keep: Names of weights that stay in float; they get no codes, and their layers' biases stay too.
        method: ``nearest`` (outermost level at the largest magnitude), ``mse`` (scale of least squared error) or
            ``gptq`` (second-order rounding on the MSE scale).
        refine: After ``gptq``, improve single codes and scales until none helps.
        compensate: Aim at the float network's output on the inputs that the layers before, on their grids, now give.
        bias_correction: Put the mean of each output channel back to the float network's.
        scale_steps: Scales tried with ``gptq``, as shares of the MSE scale; each channel keeps its best.
        damping: Added to the diagonal of the moments, as a share of its mean.
    """

    bits: int
    overrides: Mapping[str, int] = field(default_factory=dict)
    keep: Collection[str] = ()
    method: str = "gptq"
    refine: bool = True
    compensate: bool = True
    bias_correction: bool = True
    scale_steps: tuple[float, ...] = (1.0,)
    damping: float = DAMPING


@dataclass(frozen=True, kw_only=True)
class ChosenWeights:
    """What came of it.

    Attributes:
        model: The float model the codes belong to: weights as they were, biases corrected.
        codes: Weight's name to codes, in the order of computation.
    """

    model: onnx.ModelProto
    codes: Mapping[str, WeightCodes]


def choose_weights(
    model: onnx.ModelProto,
    batches: Batches,
    *,
    recipe: WeightRecipe,
    grids: Mapping[str, Grid] | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ChosenWeights:
    """Choose codes for every weighted layer, in the order of computation, each knowing what those before it became.

    Each layer is reached from the last place before it where the network is one tensor wide (`frontier.py`), so the
    network is run a few times in all; where the activations there are too large to keep, from an earlier place.
    Memory: four (K, K) matrices of float64 for the layer at hand, the activations of a batch per thread, and at most
    twice `frontier.MOST_BYTES`; it does not grow with the number of images. A weight that several layers share is
    chosen at the first of them.

    Args:
        model: A prepared float model; it is not changed.
        batches: Called up to twice per layer; gives the same (n, ...) float32 images as the model takes them.
        recipe: What to do.
        grids: Grids of the activations that the network will run with; None for float activations.
        threads: Batches computed at a time; the result does not depend on it.
        progress: Called with the number of layers done and their number.

    Returns:
        The corrected float model and the codes.

    Raises:
        InputError: If the method is unknown, a width is not 2..8, there is no image or an input is not finite.
        UnsupportedError: If ONNX Runtime is not installed.
    """
    if recipe.method not in METHODS:
        raise unknown("rounding method", recipe.method, METHODS)
    walk = _Walk(model, recipe, grids or {}, batches)
    ordered = _first_uses(layer for layer in weighted_layers(model) if layer.weight not in recipe.keep)
    for done, layer in enumerate(ordered):
        walk.choose(layer, threads)
        if progress is not None:
            progress(done + 1, len(ordered))
    return ChosenWeights(model=walk.corrected, codes=walk.codes)


def _first_uses(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    first: dict[str, Layer] = {}
    for layer in layers:
        first.setdefault(layer.weight, layer)
    return tuple(first.values())


class _Walk:
    """The networks on the way: float, on grids up to the layer at hand, and float with the biases corrected so far."""

    def __init__(
        self, model: onnx.ModelProto, recipe: WeightRecipe, grids: Mapping[str, Grid], batches: Batches
    ) -> None:
        self.codes: dict[str, WeightCodes] = {}
        self.corrected = onnx.ModelProto()
        self.corrected.CopyFrom(model)
        self._float = model
        self._recipe = recipe
        self._work = on_grids(model, grids)
        self._before, self._on_grid = Frontier(model, batches), Frontier(self._work, batches)

    def choose(self, layer: Layer, threads: int) -> None:
        recipe = self._recipe
        weight = initializer(self._float, layer.weight)
        bits = recipe.overrides.get(layer.weight, recipe.bits)
        moments = None
        if recipe.method == "gptq" or recipe.bias_correction:
            moments = self._moments(layer, weight, threads)
        codes = _codes(weight, layer, bits, recipe, moments)
        self.codes[layer.weight] = codes
        set_initializer(self._work, layer.weight, codes.values())
        if moments is not None and recipe.bias_correction:
            self._correct(layer, weight, codes.values(), moments)

    def _moments(self, layer: Layer, weight: Floats, threads: int) -> Moments:
        name = self._input_on_grid(layer)
        self._before.move(layer.input, threads=threads)
        self._on_grid.move(name, threads=threads)
        on_grid = runner(self._work, name, start=self._on_grid.start)
        in_float = runner(self._float, layer.input, start=self._before.start)
        return layer_moments(
            layer,
            weight.shape,
            zip(self._on_grid, self._before, strict=True),
            on_grid=lambda pair: on_grid(pair[0]),
            in_float=lambda pair: in_float(pair[1]),
            threads=threads,
        )

    def _input_on_grid(self, layer: Layer) -> str:
        return next(str(node.input[0]) for node in self._work.graph.node if node.output[0] == layer.output)

    def _correct(self, layer: Layer, weight: Floats, values: Floats, moments: Moments) -> None:
        name = layer.bias
        if name is None:
            return
        bias = corrected_bias(initializer(self._float, name), weight, values, layer, moments)
        for model in (self._work, self.corrected):
            set_initializer(model, name, bias)


def _codes(weight: Floats, layer: Layer, bits: int, recipe: WeightRecipe, moments: Moments | None) -> WeightCodes:
    if recipe.method == "nearest":
        return round_to_nearest(weight, bits, layer.axis)
    if recipe.method == "mse" or moments is None:
        return mse_codes(weight, bits, layer.axis)
    centred = recipe.bias_correction and layer.bias is not None
    gram = damped(moments.gram(centred=centred), recipe.damping)
    rows = to_rows(weight.astype(np.float64), layer.axis, layer.groups)
    if recipe.compensate:
        rows = compensated(rows, moments, gram, centred=centred)
    scales = mse_scales(from_rows(rows, weight.shape, layer.axis).astype(np.float32), bits, layer.axis)
    levels, steps = _least(rows, gram, scales.astype(np.float64).reshape(rows.shape[:2]), bits, recipe)
    codes = from_rows(levels.astype(np.int8), weight.shape, layer.axis)
    return WeightCodes(codes=codes, scales=steps.reshape(-1).astype(np.float32), axis=layer.axis, bits=bits)


def compensated(rows: Doubles, moments: Moments, gram: Doubles, *, centred: bool) -> Doubles:
    """Give the weights that come nearest, on the changed input, to the float layer's output on the float input.

    The least-squares solution of ``new x = rows f``: ``rows + rows (E[f x.T] - E[x x.T]) H**-1``, H damped, so that
    directions the images say little about keep their weights.
    """
    drift = moments.cross_gram(centred=centred) - moments.gram(centred=centred)
    return rows + np.swapaxes(np.linalg.solve(gram, np.swapaxes(rows @ drift, 1, 2)), 1, 2)


def _least(rows: Doubles, gram: Doubles, steps: Doubles, bits: int, recipe: WeightRecipe) -> tuple[Doubles, Doubles]:
    limit = level_limit(bits)
    best, kept, least = np.zeros_like(rows), steps, np.full(steps.shape, np.inf)
    for share in recipe.scale_steps:
        levels, tried = gptq_rows(rows, gram, steps * share, limit), steps * share
        if recipe.refine:
            rounded = refine_rows(levels, rows, gram, tried, limit)
            levels, tried = rounded.levels, rounded.steps
        errors = output_error(levels * tried[:, :, None] - rows, gram)
        better = errors < least
        best = np.where(better[:, :, None], levels, best)
        kept, least = np.where(better, tried, kept), np.where(better, errors, least)
    return best, kept
