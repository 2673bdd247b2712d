"""Bias correction: the mean of each output channel put back to what it is in the float network."""

from __future__ import annotations

import numpy as np

from .gram import Moments
from .layers import Floats, Layer, to_rows


def corrected_bias(bias: Floats, weight: Floats, on_grid: Floats, layer: Layer, moments: Moments) -> Floats:
    """Add to a bias what makes the layer's mean output over the calibration images that of the float network.

    The mean output is the weight times the mean input, so the images need not be run again: the correction is
    ``weight @ mean(f) - on_grid @ mean(x)`` exactly, which holds both the rounding of this layer's weights and what all
    layers before it changed.

    Args:
        bias: (channels,) float32; zeros where the layer has none.
        weight: The layer's float weight.
        on_grid: The values that replace it, same shape.
        layer: The layer.
        moments: Of its input.

    Returns:
        (channels,) float32.

    Reference:
        Nagel et al. 2019, arXiv 1906.04721, section 4.2 and appendix D (empirical correction, layer after layer).
    """
    before = _mean_output(weight, layer, moments.float_sum / moments.count)
    behind = _mean_output(on_grid, layer, moments.grid_sum / moments.count)
    return np.asarray(bias + (before - behind), np.float32)


def _mean_output(weight: Floats, layer: Layer, mean: np.ndarray) -> np.ndarray:
    rows = to_rows(weight.astype(np.float64), layer.axis, layer.groups)
    return np.asarray((rows @ mean[:, :, None]).reshape(-1))
