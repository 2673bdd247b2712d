"""Gradients of pooling operators."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .emitter import Gradients, Site
from .rules_conv import Window, input_gradient, read_window


def global_average_pool(site: Site) -> Gradients:
    """Spread evenly over all positions."""
    rank = len(site.shape(site.input(0)))
    sizes = [site.static(site.input(0), axis) for axis in range(1, rank)]
    share = site.emit.op("Mul", [site.gradient, site.emit.array(1 / math.prod(sizes[1:]))])
    return [site.emit.op("Expand", [share, site.emit.integers([1, *sizes])])]


def average_pool(site: Site) -> Gradients:
    """Spread each output evenly over the positions it was averaged over."""
    kernel = tuple(site.attribute("kernel_shape", ()))
    window = read_window(site, kernel)
    shares = 1 / _counts(site, window)
    channels = site.static(site.input(0), 1)
    share = site.emit.op("Mul", [site.gradient, site.emit.array(shares)])
    return [input_gradient(site.emit, share, np.ones((channels, 1, *kernel)), window, channels)]


def max_pool(site: Site) -> Gradients:
    """Send each output's gradient to the position that won; among equals the first in memory order wins.

    Overlapping windows add up. The forward node is asked for its second output, the winners' flat positions.
    """
    if len(site.node.output) == 1:
        site.node.output.append(site.emit.name("winners"))
    if site.attribute("storage_order", 0):
        raise site.refuse("its storage order is by columns")
    emit, flat = site.emit, site.emit.integers([-1])
    shape = emit.op("Shape", [site.input(0)])
    count = emit.op("Reshape", [emit.op("Size", [site.input(0)]), flat])
    zeros = emit.op("Expand", [emit.array([0]), count])
    winners = emit.op("Reshape", [site.node.output[1], flat])
    values = emit.op("Reshape", [site.gradient, flat])
    total = emit.op("ScatterElements", [zeros, winners, values], {"axis": 0, "reduction": "add"})
    return [emit.op("Reshape", [total, shape])]


def _counts(site: Site, window: Window) -> NDArray[np.float64]:
    """Count the positions in each window, those in the padding only if the node counts them: (1, 1, outputs...)."""
    axes = len(window.kernel)
    inclusive = bool(site.attribute("count_include_pad", 0))
    pads = site.attribute("pads", [0] * 2 * axes)
    counts = np.ones((1, 1) + (1,) * axes)
    for axis in range(axes):
        low = -window.begin[axis] if inclusive else 0
        high = window.sizes[axis] + (pads[axes + axis] if inclusive else 0)
        first = np.arange(window.outputs[axis]) * window.strides[axis] - window.begin[axis]
        taps = first[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        inside = ((taps >= low) & (taps < high)).sum(axis=1)
        if inclusive and (inside < window.kernel[axis]).any():
            raise site.refuse("windows that reach beyond the stated padding are counted differently by runtimes")
        counts = counts * inside.reshape([-1 if place == axis + 2 else 1 for place in range(axes + 2)])
    return counts
