"""Gradients of smooth functions of one input: exponentials, powers, roots and the Gaussian ones of transformers."""

from __future__ import annotations

import math

import numpy as np

from .emitter import Gradients, Site

_TANH_GELU_CUBE = 0.044715  # Hendrycks & Gimpel 2016, arXiv 1606.08415, sec. 2


def erf(site: Site) -> Gradients:
    """Use 2 / sqrt(pi) exp(-x^2)."""
    return [_times(site, _bell(site, -1.0, 2 / math.sqrt(math.pi)))]


def exp(site: Site) -> Gradients:
    """Use y."""
    return [_times(site, site.output)]


def log(site: Site) -> Gradients:
    """Use 1 / x."""
    return [site.emit.op("Div", [site.gradient, site.input(0)])]


def neg(site: Site) -> Gradients:
    """Use -1."""
    return [site.emit.op("Neg", [site.gradient])]


def reciprocal(site: Site) -> Gradients:
    """Use -y^2."""
    square = site.emit.op("Mul", [site.output, site.output])
    return [site.emit.op("Neg", [_times(site, square)])]


def sqrt(site: Site) -> Gradients:
    """Use 1 / (2 y)."""
    return [site.emit.op("Div", [site.gradient, site.emit.op("Add", [site.output, site.output])])]


def power(site: Site) -> Gradients:
    """Use p x^(p - 1) for an exponent p that does not depend on the images."""
    exponent = np.asarray(site.constant(1), dtype=np.float64)
    emit, x = site.emit, site.input(0)
    lower = x if (exponent == 2).all() else emit.op("Pow", [x, emit.array(exponent - 1)])
    gradient = _times(site, emit.op("Mul", [lower, emit.array(exponent)]))
    return [site.unbroadcast(gradient, site.shape(site.output), x)]


def gelu(site: Site) -> Gradients:
    """Use Phi(x) + x phi(x) of the normal distribution, or the slope of the tanh approximation."""
    approximate = site.attribute("approximate", b"none")
    return [_times(site, _tanh_gelu_slope(site) if approximate == b"tanh" else _gelu_slope(site))]


def _gelu_slope(site: Site) -> str:
    emit, x = site.emit, site.input(0)
    share = emit.op("Erf", [emit.op("Mul", [x, emit.array(math.sqrt(0.5))])])
    below = emit.op("Mul", [emit.op("Add", [share, emit.array(1)]), emit.array(0.5)])
    density = _bell(site, -0.5, 1 / math.sqrt(2 * math.pi))
    return emit.op("Add", [below, emit.op("Mul", [x, density])])


def _tanh_gelu_slope(site: Site) -> str:
    """Differentiate x/2 (1 + tanh u) with u = sqrt(2/pi) (x + c x^3): (1 + tanh u)/2 + x/2 (1 - tanh^2 u) u'."""
    emit, x, root = site.emit, site.input(0), math.sqrt(2 / math.pi)
    square = emit.op("Mul", [x, x])
    inner = emit.op("Add", [emit.op("Mul", [square, emit.array(root * _TANH_GELU_CUBE)]), emit.array(root)])
    bend = emit.op("Tanh", [emit.op("Mul", [x, inner])])
    slope = emit.op("Add", [emit.op("Mul", [square, emit.array(3 * root * _TANH_GELU_CUBE)]), emit.array(root)])
    rest = emit.op("Sub", [emit.array(1), emit.op("Mul", [bend, bend])])
    moving = emit.op("Mul", [emit.op("Mul", [x, rest]), slope])
    total = emit.op("Add", [emit.op("Add", [bend, emit.array(1)]), moving])
    return emit.op("Mul", [total, emit.array(0.5)])


def _bell(site: Site, exponent: float, height: float) -> str:
    """Write height exp(exponent x^2)."""
    emit, x = site.emit, site.input(0)
    bell = emit.op("Exp", [emit.op("Mul", [emit.op("Mul", [x, x]), emit.array(exponent)])])
    return emit.op("Mul", [bell, emit.array(height)])


def _times(site: Site, factor: str) -> str:
    return site.emit.op("Mul", [site.gradient, factor])
