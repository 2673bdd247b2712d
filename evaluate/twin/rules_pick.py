"""Gradients of operators that pick or part by position: Gather with constant indices, and Split."""

from __future__ import annotations

import numpy as np

from .emitter import Gradients, Site
from .rules_shape import scattered


def gather(site: Site) -> Gradients:
    """Put each value back where it was read, zero elsewhere; what was read several times is summed."""
    indices = site.constant(1)
    rank = len(site.shape(site.input(0)))
    axis = int(site.attribute("axis", 0)) % rank
    size = site.static(site.input(0), axis)
    positions = np.where(indices < 0, indices + size, indices).ravel()
    gradient = _flattened(site, axis, indices)
    if len(set(positions.tolist())) == len(positions):
        return [scattered(site, gradient, axis, size, positions.tolist())]
    return [_summed(site, gradient, axis, rank, np.eye(size)[positions])]


def split(site: Site) -> Gradients:
    """Join the parts' gradients; a part nobody reads gives zeros."""
    parts = [
        site.emit.op("Mul", [output, site.emit.array(0)]) if gradient is None else gradient
        for output, gradient in zip(site.node.output, site.gradients, strict=True)
    ]
    return [site.emit.op("Concat", parts, {"axis": int(site.attribute("axis", 0))})]


def _flattened(site: Site, axis: int, indices: np.typing.NDArray[np.generic]) -> str:
    """Give the gradient with one axis in place of those of the indices."""
    if indices.ndim == 1:
        return site.gradient
    if indices.ndim == 0:
        return site.emit.op("Unsqueeze", [site.gradient, site.emit.integers([axis])])
    shape = site.shape(site.input(0))
    target = [-1 if size is None else size for size in (*shape[:axis], indices.size, *shape[axis + 1 :])]
    if target.count(-1) > 1:
        raise site.refuse("more than one of its sizes is unknown")
    return site.emit.op("Reshape", [site.gradient, site.emit.integers(target)])


def _summed(site: Site, gradient: str, axis: int, rank: int, taken: np.typing.NDArray[np.float64]) -> str:
    """Multiply the axis by the (read, size) matrix of what was read."""
    order = [place for place in range(rank) if place != axis] + [axis]
    last = site.emit.op("Transpose", [gradient], {"perm": order})
    product = site.emit.op("MatMul", [last, site.emit.array(taken)])
    return site.emit.op("Transpose", [product], {"perm": np.argsort(order).tolist()})
