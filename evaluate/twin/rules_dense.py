"""Gradients of matrix products, inference BatchNormalization, LayerNormalization and Softmax."""

from __future__ import annotations

import numpy as np

from .emitter import Gradients, Site

_MATRIX = 2
_AXES_ARE_INPUT = 18
_PER_AXIS_SOFTMAX = 13  # older versions flatten everything behind the axis


def gemm(site: Site) -> Gradients:
    """Differentiate alpha A' B' + beta C, where ' is an optional transpose."""
    left, right = bool(site.attribute("transA", 0)), bool(site.attribute("transB", 0))
    scale = {"alpha": site.attribute("alpha", 1.0)}
    (a, b), g, emit = (site.input(0), site.input(1)), site.gradient, site.emit
    result: list[str | None] = [None, None, None]
    if site.needs(0):
        order, flags = ([b, g], (right, True)) if left else ([g, b], (False, not right))
        result[0] = emit.op("Gemm", order, {**scale, "transA": int(flags[0]), "transB": int(flags[1])})
    if site.needs(1):
        order, flags = ([g, a], (True, left)) if right else ([a, g], (not left, False))
        result[1] = emit.op("Gemm", order, {**scale, "transA": int(flags[0]), "transB": int(flags[1])})
    if site.needs(2):
        scaled = emit.op("Mul", [g, emit.array(site.attribute("beta", 1.0))])
        result[2] = site.unbroadcast(scaled, site.shape(site.output), site.input(2))
    return result


def matmul(site: Site) -> Gradients:
    """Use g B^T and A^T g, summed over stacked matrices that were broadcast."""
    ranks = [len(site.shape(site.input(index))) for index in range(2)]
    if min(ranks) < _MATRIX:
        raise site.refuse("a product with a vector is not differentiated; reshape it to a matrix")
    result: list[str | None] = [None, None]
    if site.needs(0):
        product = site.emit.op("MatMul", [site.gradient, _swapped(site, 1, ranks[1])])
        result[0] = site.unbroadcast(product, _stacked(site, 0), site.input(0))
    if site.needs(1):
        product = site.emit.op("MatMul", [_swapped(site, 0, ranks[0]), site.gradient])
        result[1] = site.unbroadcast(product, _stacked(site, 1), site.input(1))
    return result


def batch_normalization(site: Site) -> Gradients:
    """Scale each channel by gamma / sqrt(variance + epsilon)."""
    if site.attribute("training_mode", 0):
        raise site.refuse("it is in training mode")
    factor = site.constant(1) / np.sqrt(site.constant(4) + site.attribute("epsilon", 1e-5))
    rank = len(site.shape(site.input(0)))
    factors = site.emit.array(factor.reshape(1, -1, *[1] * (rank - 2)))
    return [site.emit.op("Mul", [site.gradient, factors])]


def layer_normalization(site: Site) -> Gradients:
    """Use (h - mean h - z mean(h z)) / deviation, with h = gradient times scale and z the normalised input.

    The forward node is asked for its further outputs, mean and 1 / deviation.

    Reference:
        Ba, Kiros, Hinton 2016, arXiv 1607.06450, eq. 3, differentiated.
    """
    if site.needs(1) or site.needs(2):
        raise site.refuse("its scale or bias depends on the images")
    emit, node = site.emit, site.node
    rank = len(site.shape(site.input(0)))
    axes = list(range(int(site.attribute("axis", -1)) % rank, rank))
    outputs = [
        name or emit.name(hint) for name, hint in zip([*node.output[1:], "", ""], ("mean", "inverse"), strict=False)
    ]
    del node.output[1:]
    node.output.extend(outputs)
    normalised = emit.op("Mul", [emit.op("Sub", [site.input(0), outputs[0]]), outputs[1]])
    scaled = emit.op("Mul", [site.gradient, site.input(1)])
    lean = emit.op("Mul", [normalised, _mean(site, emit.op("Mul", [scaled, normalised]), axes)])
    rest = emit.op("Sub", [emit.op("Sub", [scaled, _mean(site, scaled, axes)]), lean])
    return [emit.op("Mul", [rest, outputs[1]])]


def softmax(site: Site) -> Gradients:
    """Use y (g - sum of g y)."""
    rank = len(site.shape(site.output))
    modern = site.graph.opset >= _PER_AXIS_SOFTMAX
    axis = int(site.attribute("axis", -1 if modern else 1)) % rank
    emit, y = site.emit, site.output
    product = emit.op("Mul", [site.gradient, y])
    size = site.shape(site.output)[axis]
    if axis == rank - 1 and size is not None:  # ReduceSum's last bits may depend on the batch size, see `_mean`
        total = emit.op("MatMul", [product, emit.array(np.ones((size, 1)))])
    else:
        total = emit.op("ReduceSum", [product, emit.integers([axis])], {"keepdims": 1})
    return [emit.op("Mul", [y, emit.op("Sub", [site.gradient, total])])]


def _mean(site: Site, name: str, axes: list[int]) -> str:
    """Write the mean over the last axes, kept as axes of size 1; ReduceMean names them in an attribute below opset 18.

    Over one axis it is a product with a column: ONNX Runtime (1.31) moves transposes through ReduceMean, whose last
    bits depend on the batch size where it reduces a middle axis, and an attack follows signs.
    """
    if len(axes) == 1:
        size = site.static(site.input(0), axes[0])
        return site.emit.op("MatMul", [name, site.emit.array(np.full((size, 1), 1 / size))])
    if site.graph.opset >= _AXES_ARE_INPUT:
        return site.emit.op("ReduceMean", [name, site.emit.integers(axes)], {"keepdims": 1})
    return site.emit.op("ReduceMean", [name], {"axes": axes, "keepdims": 1})


def _swapped(site: Site, index: int, rank: int) -> str:
    """Give an input with its last two axes swapped; a constant is swapped here, not at run time."""
    name = site.input(index)
    if name in site.graph.constants:
        return site.emit.array(np.swapaxes(site.constant(index), -1, -2))
    return site.emit.op("Transpose", [name], {"perm": [*range(rank - 2), rank - 1, rank - 2]})


def _stacked(site: Site, index: int) -> tuple[int | None, ...]:
    """Give the shape of a gradient before broadcast stacks are summed: the output's stack, the input's matrix."""
    return (*site.shape(site.output)[:-2], *site.shape(site.input(index))[-2:])
