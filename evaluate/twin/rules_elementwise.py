"""Gradients of element-by-element operators: activations and arithmetic with broadcasting."""

from __future__ import annotations

from onnx import helper

from .emitter import Gradients, Site


def relu(site: Site) -> Gradients:
    """Pass where the output is above zero; at exactly zero the gradient is zero, as in every framework."""
    return [site.masked(site.emit.op("Greater", [site.output, site.emit.array(0)]))]


def leaky_relu(site: Site) -> Gradients:
    """Pass above zero, scale by ``alpha`` elsewhere."""
    slope = site.emit.op("Mul", [site.gradient, site.emit.array(site.attribute("alpha", 0.01))])
    above = site.emit.op("Greater", [site.input(0), site.emit.array(0)])
    return [site.emit.op("Where", [above, site.gradient, slope])]


def clip(site: Site) -> Gradients:
    """Pass strictly between the bounds, read off the output so that Conv and Clip still fuse; ReLU6 is one of these."""
    if site.needs(1) or site.needs(2):
        raise site.refuse("its bounds depend on the images")
    if any(site.input(index) and site.constant(index).dtype.kind in "iu" for index in (1, 2)):
        return [_within(site)]
    masks = []
    if site.input(1):
        masks.append(site.emit.op("Greater", [site.output, site.input(1)]))
    if site.input(2):
        masks.append(site.emit.op("Less", [site.output, site.input(2)]))
    if not masks:
        return [site.gradient]
    return [site.masked(masks[0] if len(masks) == 1 else site.emit.op("And", masks))]


def _within(site: Site) -> str:
    """Pass where an integer code needs no clipping, bounds included: the saturation of a grid below 8 bits."""
    code = site.emit.op("Cast", [site.input(0)], {"to": helper.np_dtype_to_tensor_dtype(site.graph.dtype)})
    masks = [
        site.emit.op(comparison, [code, site.emit.array(site.constant(index))])
        for index, comparison in ((1, "GreaterOrEqual"), (2, "LessOrEqual"))
        if site.input(index)
    ]
    return site.masked(masks[0] if len(masks) == 1 else site.emit.op("And", masks))


def sigmoid(site: Site) -> Gradients:
    """Use y (1 - y)."""
    rest = site.emit.op("Sub", [site.emit.array(1), site.output])
    return [site.emit.op("Mul", [site.gradient, site.emit.op("Mul", [site.output, rest])])]


def tanh(site: Site) -> Gradients:
    """Use 1 - y^2."""
    square = site.emit.op("Mul", [site.output, site.output])
    return [site.emit.op("Mul", [site.gradient, site.emit.op("Sub", [site.emit.array(1), square])])]


def hard_sigmoid(site: Site) -> Gradients:
    """Use ``alpha`` strictly between 0 and 1, zero elsewhere."""
    above = site.emit.op("Greater", [site.output, site.emit.array(0)])
    below = site.emit.op("Less", [site.output, site.emit.array(1)])
    inside = site.masked(site.emit.op("And", [above, below]))
    return [site.emit.op("Mul", [inside, site.emit.array(site.attribute("alpha", 0.2))])]


def hard_swish(site: Site) -> Gradients:
    """Differentiate x clip(x/6 + 1/2, 0, 1): 0 up to -3, 1 from 3 on, (2x + 3)/6 between."""
    x, emit = site.input(0), site.emit
    line = emit.op("Add", [emit.op("Mul", [x, emit.array(1 / 3)]), emit.array(0.5)])
    right = emit.op("Where", [emit.op("Less", [x, emit.array(3)]), line, emit.array(1)])
    slope = emit.op("Where", [emit.op("Greater", [x, emit.array(-3)]), right, emit.array(0)])
    return [emit.op("Mul", [site.gradient, slope])]


def add(site: Site) -> Gradients:
    """Pass to both sides, summed over what was broadcast."""
    return [_onto(site, index, site.gradient) for index in range(2)]


def sub(site: Site) -> Gradients:
    """Pass to the left side, negated to the right."""
    right = site.emit.op("Neg", [site.gradient]) if site.needs(1) else site.gradient
    return [_onto(site, 0, site.gradient), _onto(site, 1, right)]


def mul(site: Site) -> Gradients:
    """Multiply by the other side."""
    return [
        _onto(site, index, site.emit.op("Mul", [site.gradient, site.input(1 - index)])) if site.needs(index) else None
        for index in range(2)
    ]


def div(site: Site) -> Gradients:
    """For y = a / b use 1 / b and -y / b."""
    share = site.emit.op("Div", [site.gradient, site.input(1)])
    right = None
    if site.needs(1):
        right = _onto(site, 1, site.emit.op("Neg", [site.emit.op("Mul", [share, site.output])]))
    return [_onto(site, 0, share), right]


def cast(site: Site) -> Gradients:
    """Pass between floating-point types, back in the input's type."""
    to = site.attribute("to", 0)
    floats = [helper.np_dtype_to_tensor_dtype(site.graph.dtype)]
    if to not in floats:
        raise site.refuse("it changes the type of the images' data; only the model's own float type is kept")
    return [site.gradient]


def unchanged(site: Site) -> Gradients:
    """Pass: Identity, and Dropout at inference."""
    return [site.gradient]


def _onto(site: Site, index: int, gradient: str) -> str | None:
    if not site.needs(index):
        return None
    return site.unbroadcast(gradient, site.shape(site.output), site.input(index))
