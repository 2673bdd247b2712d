"""Gradients of activations made of exponentials: Elu and its kin, Softplus, Mish, LogSoftmax."""

from __future__ import annotations

import numpy as np

from .emitter import Gradients, Site

_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875  # the ONNX operator's defaults


def elu(site: Site) -> Gradients:
    """Use 1 above zero and y + alpha below."""
    return [_bent(site, site.attribute("alpha", 1.0), 1.0)]


def selu(site: Site) -> Gradients:
    """Use gamma above zero and y + gamma alpha below."""
    gamma = site.attribute("gamma", _SELU_GAMMA)
    return [_bent(site, gamma * site.attribute("alpha", _SELU_ALPHA), gamma)]


def celu(site: Site) -> Gradients:
    """Use 1 above zero and exp(x / alpha) = y / alpha + 1 below."""
    emit = site.emit
    below = emit.op("Add", [emit.op("Div", [site.output, emit.array(site.attribute("alpha", 1.0))]), emit.array(1)])
    return [_either(site, emit.array(1), below)]


def softplus(site: Site) -> Gradients:
    """Use the logistic function."""
    return [site.emit.op("Mul", [site.gradient, site.emit.op("Sigmoid", [site.input(0)])])]


def mish(site: Site) -> Gradients:
    """Differentiate x t with t = tanh(softplus x): t + x (1 - t^2) sigmoid(x).

    Reference:
        Misra 2020, arXiv 1908.08681, eq. 1.
    """
    emit, x = site.emit, site.input(0)
    bend = emit.op("Tanh", [emit.op("Softplus", [x])])
    rest = emit.op("Sub", [emit.array(1), emit.op("Mul", [bend, bend])])
    moving = emit.op("Mul", [emit.op("Mul", [x, rest]), emit.op("Sigmoid", [x])])
    return [emit.op("Mul", [site.gradient, emit.op("Add", [bend, moving])])]


def log_softmax(site: Site) -> Gradients:
    """Use g - exp(y) sum(g)."""
    rank, emit = len(site.shape(site.output)), site.emit
    axis = int(site.attribute("axis", -1)) % rank
    size = site.shape(site.output)[axis]
    if axis == rank - 1 and size is not None:  # as for Softmax: ReduceSum's last bits may depend on the batch size
        total = emit.op("MatMul", [site.gradient, emit.array(np.ones((size, 1)))])
    else:
        total = emit.op("ReduceSum", [site.gradient, emit.integers([axis])], {"keepdims": 1})
    return [emit.op("Sub", [site.gradient, emit.op("Mul", [emit.op("Exp", [site.output]), total])])]


def _bent(site: Site, height: float, slope: float) -> str:
    below = site.emit.op("Add", [site.output, site.emit.array(height)])
    return _either(site, site.emit.array(slope), below)


def _either(site: Site, above: str, below: str) -> str:
    emit = site.emit
    chosen = emit.op("Where", [emit.op("Greater", [site.input(0), emit.array(0)]), above, below])
    return emit.op("Mul", [site.gradient, chosen])
