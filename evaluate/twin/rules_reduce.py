"""Gradients of operators that sum, pick the largest, or repeat along axes, and of Einsum."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import helper

from .emitter import Gradients, Site

_EQUATION_ENDS = 2


def reduce_sum(site: Site) -> Gradients:
    """Spread to everything that was summed."""
    return [_spread(site, site.gradient)]


def reduce_l2(site: Site) -> Gradients:
    """Use x / y; zero where the whole reduced part is zero."""
    emit = site.emit
    norm = _spread(site, site.output)
    safe = emit.op("Where", [emit.op("Equal", [norm, emit.array(0)]), emit.array(1), norm])
    return [emit.op("Mul", [_spread(site, site.gradient), emit.op("Div", [site.input(0), safe])])]


def reduce_max(site: Site) -> Gradients:
    """Send to the largest; equals share evenly, as torch's `amax` has it."""
    return [_shared(site, _axes(site), _spread(site, site.output), _spread(site, site.gradient))]


def global_max_pool(site: Site) -> Gradients:
    """Send to the largest of all positions; equals share evenly."""
    return [_shared(site, list(range(2, len(site.shape(site.input(0))))), site.output, site.gradient)]


def expand(site: Site) -> Gradients:
    """Sum over what was repeated."""
    return [site.unbroadcast(site.gradient, site.shape(site.output), site.input(0))]


def einsum(site: Site) -> Gradients:
    """Contract the gradient with the other operands, back onto each operand's letters."""
    equation = site.attribute("equation", b"").decode().replace(" ", "")
    sides = equation.split("->")
    terms = sides[0].split(",")
    if len(sides) != _EQUATION_ENDS or "." in equation:
        raise site.refuse(f"its equation {equation!r} has no explicit result or an ellipsis; write all letters")
    result: list[str | None] = []
    for index, term in enumerate(terms):
        others = [(terms[i], site.input(i)) for i in range(len(terms)) if i != index]
        known = set(sides[1]).union(*(letters for letters, _ in others))
        if not site.needs(index):
            result.append(None)
            continue
        if len(set(term)) < len(term) or not set(term) <= known:
            raise site.refuse(f"operand {term!r} of {equation!r} repeats a letter or sums one on its own")
        inverse = ",".join([sides[1], *(letters for letters, _ in others)]) + "->" + term
        names = [site.gradient, *(name for _, name in others)]
        result.append(site.emit.op("Einsum", names, {"equation": inverse}))
    return result


def _axes(site: Site) -> list[int]:
    """Give the axes reduced over; none named means all of them."""
    rank = len(site.shape(site.input(0)))
    axes: Sequence[int] = site.constant(1).tolist() if site.input(1) else site.attribute("axes", [])
    if not axes and site.attribute("noop_with_empty_axes", 0):
        raise site.refuse("it reduces over nothing; take it out")
    return sorted(axis % rank for axis in axes or range(rank))


def _shared(site: Site, axes: list[int], largest: str, gradient: str) -> str:
    emit, to = site.emit, {"to": helper.np_dtype_to_tensor_dtype(site.graph.dtype)}
    won = emit.op("Cast", [emit.op("Equal", [site.input(0), largest])], to)
    count = emit.op("ReduceSum", [won, emit.integers(axes)], {"keepdims": 1})
    return emit.op("Mul", [emit.op("Div", [won, count]), gradient])


def _spread(site: Site, name: str) -> str:
    """Bring something of the output's shape to the input's."""
    axes = _axes(site)
    if not site.attribute("keepdims", 1):
        name = site.emit.op("Unsqueeze", [name, site.emit.integers(axes)])
    return site.emit.op("Expand", [name, site.emit.op("Shape", [site.input(0)])])
