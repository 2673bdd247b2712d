"""Gradients of operators that choose between values: Where, Max, Min, Abs, PRelu."""

from __future__ import annotations

from onnx import helper

from .emitter import Gradients, Site


def where(site: Site) -> Gradients:
    """Pass to the side that was taken; the condition itself has no gradient."""
    emit, zero = site.emit, site.emit.array(0)
    taken = emit.op("Where", [site.input(0), site.gradient, zero]) if site.needs(1) else ""
    other = emit.op("Where", [site.input(0), zero, site.gradient]) if site.needs(2) else ""
    return [None, *(_onto(site, index, name) if name else None for index, name in ((1, taken), (2, other)))]


def largest(site: Site) -> Gradients:
    """Pass to whoever equals the result of Max or Min; equals share evenly, as torch has it."""
    emit, to = site.emit, {"to": helper.np_dtype_to_tensor_dtype(site.graph.dtype)}
    won = [emit.op("Cast", [emit.op("Equal", [name, site.output])], to) for name in site.node.input]
    count = won[0]
    for other in won[1:]:
        count = emit.op("Add", [count, other])
    share = emit.op("Div", [site.gradient, count])
    return [
        _onto(site, index, emit.op("Mul", [share, mask])) if site.needs(index) else None
        for index, mask in enumerate(won)
    ]


def absolute(site: Site) -> Gradients:
    """Use the sign."""
    return [site.emit.op("Mul", [site.gradient, site.emit.op("Sign", [site.input(0)])])]


def prelu(site: Site) -> Gradients:
    """Pass above zero, scale by the learnt slope elsewhere."""
    if site.needs(1):
        raise site.refuse("its slope depends on the images")
    slope = site.emit.op("Mul", [site.gradient, site.input(1)])
    above = site.emit.op("Greater", [site.input(0), site.emit.array(0)])
    return [site.emit.op("Where", [above, site.gradient, slope])]


def add_all(site: Site) -> Gradients:
    """Pass to every summand, summed over what was broadcast."""
    return [_onto(site, index, site.gradient) if site.needs(index) else None for index in range(len(site.node.input))]


def _onto(site: Site, index: int, gradient: str) -> str:
    return site.unbroadcast(gradient, site.shape(site.output), site.input(index))
