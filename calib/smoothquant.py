"""SmoothQuant: the outliers of a LayerNorm's channels move into the weights behind it, before either is quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from ..core.errors import InputError
from .channels import channel_ranges, peak
from .histogram import Floats
from .layers import initializer, set_initializer

_LEAST = 1e-5  # magnitudes below count as this: a dead channel's factor stays finite


@dataclass(frozen=True, kw_only=True)
class SmoothedPair:
    """One LayerNormalization and the products that read it.

    Attributes:
        tensor: The normalised activation between them.
        weights: Initializers of the products, (channels, outputs) each.
        factors: (channels,) float32: what the activation was divided by and the weights' rows multiplied with.
        before: Largest magnitude over the activation's median channel, before.
        after: The same ratio afterwards; a flat activation has 1.
    """

    tensor: str
    weights: tuple[str, ...]
    factors: Floats
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """What came of it.

    Attributes:
        model: The float model, equal to the given one up to float rounding.
        pairs: What was changed, in the graph's order; empty where no LayerNormalization feeds only products.
    """

    model: onnx.ModelProto
    pairs: tuple[SmoothedPair, ...]


def smooth(model: onnx.ModelProto, batches: Callable[[], Iterable[Floats]], *, alpha: float = 0.5) -> Smoothed:
    """Divide each LayerNormalization's channels by factors and multiply the weights behind it with them.

    Ranges must be calibrated on the result, not on the given model. A LayerNormalization takes part if everything that
    reads it is a MatMul with a matrix of constants on the right.

    Args:
        model: A prepared float model; not changed.
        batches: Called once; gives (n, ...) float32 arrays as the model takes them.
        alpha: How much of the range moves into the weights: 0 flattens the weights, 1 the activations.

    Returns:
        The model and what was changed.

    Raises:
        InputError: If ``alpha`` is not in [0, 1], there is no image, or an activation is not finite.
        UnsupportedError: If ONNX Runtime is not installed.

    Reference:
        Xiao et al. 2022, arXiv 2211.10438, eq. 4. The factors' common part is free; they are not normalised there
        either.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"Expected `alpha` in 0..1, got {alpha}.")
    work = onnx.ModelProto()
    work.CopyFrom(model)
    found = _pairs(work)
    seen = channel_ranges(model, batches(), [norm.output[0] for norm, _ in found]) if found else {}
    pairs = [_moved(work, norm, products, seen[norm.output[0]].magnitude, alpha) for norm, products in found]
    _drop_unread(work.graph)
    return Smoothed(model=work, pairs=tuple(pairs))


def _pairs(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, list[onnx.NodeProto]]]:
    """Find the LayerNormalizations over the last axis that feed only products with constants."""
    graph = model.graph
    constants = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    pairs = []
    for norm in graph.node:
        if norm.op_type != "LayerNormalization" or norm.output[0] in outputs:
            continue
        if any(constants.get(name) != 1 for name in norm.input[1:3]):
            continue  # a scale or bias that is computed cannot be divided
        readers = [node for node in graph.node if norm.output[0] in node.input]
        if readers and all(_is_product(node, norm.output[0], constants) for node in readers):
            pairs.append((norm, readers))
    return pairs


def _is_product(node: onnx.NodeProto, activation: str, constants: dict[str, int]) -> bool:
    return node.op_type == "MatMul" and node.input[0] == activation and constants.get(node.input[1]) == 2


def _moved(
    model: onnx.ModelProto, norm: onnx.NodeProto, products: list[onnx.NodeProto], magnitude: Floats, alpha: float
) -> SmoothedPair:
    weights = {node.input[1]: initializer(model, node.input[1]) for node in products}
    rows = np.max([np.abs(weight).max(axis=1) for weight in weights.values()], axis=0)
    factors = smoothing_factors(magnitude, rows, alpha=alpha)
    own = Counter(node.input[1] for node in products)
    names = {name: _replaced(model, name, weight * factors[:, None], own[name]) for name, weight in weights.items()}
    for node in products:
        node.input[1] = names[node.input[1]]
    for index, name in enumerate(norm.input[1:3], start=1):
        norm.input[index] = _replaced(model, name, initializer(model, name) / factors, 1)
    return SmoothedPair(
        tensor=norm.output[0],
        weights=tuple(names.values()),
        factors=factors,
        before=peak(magnitude),
        after=peak(magnitude / factors),
    )


def smoothing_factors(activation: NDArray[np.floating], weight: NDArray[np.floating], *, alpha: float) -> Floats:
    """Give max|X_j|^alpha / max|W_j|^(1 - alpha) for each channel j, 1 where the channel is dead.

    Args:
        activation: (channels,) largest magnitude of each channel.
        weight: (channels,) largest magnitude of each row of the weights.
        alpha: In [0, 1].

    Reference:
        Xiao et al. 2022, arXiv 2211.10438, eq. 4.

    Example:
        >>> smoothing_factors(np.array([16.0, 1.0, 0.0]), np.array([1.0, 4.0, 1.0]), alpha=0.5).tolist()
        [4.0, 0.5, 1.0]
    """
    x, w = np.maximum(activation, _LEAST, dtype=np.float64), np.maximum(weight, _LEAST, dtype=np.float64)
    dead = (activation < _LEAST) | (weight < _LEAST)
    return np.where(dead, 1.0, x**alpha / w ** (1 - alpha)).astype(np.float32)


def _replaced(model: onnx.ModelProto, name: str, values: Floats, own_readers: int) -> str:
    """Write a constant's new value; under a new name where someone else reads the old one."""
    readers = Counter(read for node in model.graph.node for read in node.input)[name]
    target = name if readers <= own_readers else _free(model.graph, name)
    set_initializer(model, target, values)
    return target


def _free(graph: onnx.GraphProto, name: str) -> str:
    taken = {tensor.name for tensor in graph.initializer} | {read for node in graph.node for read in node.input}
    return next(new for index in range(len(taken) + 1) if (new := f"{name}_smooth{index}") not in taken)


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]
