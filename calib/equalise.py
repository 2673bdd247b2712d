"""Cross-layer equalisation: channels between two convolutions scaled alike, the function unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from .layers import Floats, Layer, initializer, set_initializer, weighted_layers

_COMMUTE = ("Relu", "LeakyRelu", "Identity")  # f(s x) = s f(x) for s > 0
_ROUNDS = 100
_CLOSE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two convolutions with nothing between them, or only Relu, LeakyRelu or Identity.

    Attributes:
        first: Writes the channels.
        second: Reads them, and nothing else does.
    """

    first: Layer
    second: Layer


@dataclass(frozen=True, kw_only=True)
class Equalised:
    """What came of it.

    Attributes:
        model: The model with other weights and the same outputs.
        pairs: Number of pairs equalised.
        skipped: Outputs of the convolutions whose next one lies behind a Clip, whose bounds do not scale.
    """

    model: onnx.ModelProto
    pairs: int
    skipped: tuple[str, ...]


def equalise(model: onnx.ModelProto) -> Equalised:
    """Scale every channel between two convolutions so that its weights span the same range in both.

    Channel ``i`` of the first is divided by ``s_i = sqrt(r1_i r2_i) / r2_i`` and its weights in the second are
    multiplied by it, ``r`` being largest magnitudes; chains are gone over until nothing moves. Outputs stay what they
    were up to float32 rounding. A channel whose weights are all zero on one side is left alone. Behind Clip, as in
    ReLU6, the function would change, because min(6, s x) is not s min(6, x): such pairs are left alone and named.
    Calibrate afterwards: the ranges of the activations between change.

    Args:
        model: A prepared float model with BatchNorm folded; it is not changed.

    Reference:
        Nagel et al. 2019, arXiv 1906.04721, eq. 11 and section 4.1. They replace ReLU6 by ReLU first; we do not,
        since that changes the answers.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    pairs = find_pairs(copy)
    for _ in range(_ROUNDS):
        if not [moved for moved in [_equalise_pair(copy, pair) for pair in pairs] if moved > _CLOSE]:
            break
    return Equalised(model=copy, pairs=len(pairs), skipped=_behind_clip(model))


def find_pairs(model: onnx.ModelProto) -> tuple[Pair, ...]:
    """Find the pairs that can be equalised, in the order of computation."""
    return tuple(_pairs(model, _COMMUTE))


def _behind_clip(model: onnx.ModelProto) -> tuple[str, ...]:
    without = {pair.first.output for pair in find_pairs(model)}
    return tuple(p.first.output for p in _pairs(model, (*_COMMUTE, "Clip")) if p.first.output not in without)


def _pairs(model: onnx.ModelProto, passing: tuple[str, ...]) -> Iterator[Pair]:
    readers = Counter(name for node in model.graph.node for name in node.input)
    readers.update(value.name for value in model.graph.output)
    uses = Counter(layer.weight for layer in weighted_layers(model))
    convs = [x for x in weighted_layers(model) if x.operator == "Conv" and uses[x.weight] == 1]
    by_input = {conv.input: conv for conv in convs}
    nexts = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type in passing}
    biased = {node.output[0] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2}
    for first in convs:
        if first.bias is None and first.output in biased:
            continue  # a bias that is computed or shared cannot be scaled
        name = first.output
        while readers[name] == 1 and name in nexts:
            name = nexts[name]
        if readers[name] == 1 and name in by_input:
            yield Pair(first=first, second=by_input[name])


def _equalise_pair(model: onnx.ModelProto, pair: Pair) -> float:
    """Scale one pair in place; give the largest |log s|."""
    first, second = initializer(model, pair.first.weight), initializer(model, pair.second.weight)
    r1 = np.abs(first).reshape(len(first), -1).max(axis=1).astype(np.float64)
    r2 = np.abs(_by_input(second, pair.second.groups)).max(axis=(1, 2)).astype(np.float64)
    alive = (r1 > 0) & (r2 > 0)
    scale = np.where(alive, np.sqrt(np.where(alive, r1, 1.0) / np.where(alive, r2, 1.0)), 1.0)
    set_initializer(model, pair.first.weight, _along(first, 1 / scale))
    if pair.first.bias is not None:
        set_initializer(model, pair.first.bias, _along(initializer(model, pair.first.bias), 1 / scale))
    scaled = _by_input(second, pair.second.groups) * scale[:, None, None]
    set_initializer(model, pair.second.weight, _from_input(scaled, second.shape, pair.second.groups))
    return float(np.abs(np.log(scale)).max())


def _along(values: Floats, factors: np.ndarray) -> Floats:
    return np.asarray(values * factors.reshape(-1, *[1] * (values.ndim - 1)), np.float32)


def _by_input(weight: Floats, groups: int) -> Floats:
    """Give (input channels, output channels that read each, kernel positions)."""
    grouped = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    return grouped.transpose(0, 2, 1, 3).reshape(groups * weight.shape[1], len(weight) // groups, -1)


def _from_input(rows: np.ndarray, shape: tuple[int, ...], groups: int) -> Floats:
    grouped = rows.reshape(groups, shape[1], shape[0] // groups, -1)
    return np.asarray(grouped.transpose(0, 2, 1, 3).reshape(shape), np.float32)
