"""First and second moments of a layer's input, streamed over images in memory that their number does not change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np

from ..core.errors import InputError
from .layers import Doubles, Floats, Layer, Window
from .prefix import in_order

_Batch = TypeVar("_Batch")


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Sums over the columns of a layer's input: one column per image and output position.

    ``x`` is the input in the network whose weights and activations are on grids so far, ``f`` the same input in the
    float network; where only one network was run, both are the same.

    Attributes:
        count: Number of columns.
        grid_sum: (groups, K) sum of ``x``.
        float_sum: (groups, K) sum of ``f``.
        grid_square: (groups, K, K) sum of ``x x.T``.
        cross: (groups, K, K) sum of ``f x.T``.
    """

    count: int
    grid_sum: Doubles
    float_sum: Doubles
    grid_square: Doubles
    cross: Doubles

    def __add__(self, other: Moments) -> Moments:
        """Give the moments of both sets of columns."""
        return Moments(
            count=self.count + other.count,
            grid_sum=self.grid_sum + other.grid_sum,
            float_sum=self.float_sum + other.float_sum,
            grid_square=self.grid_square + other.grid_square,
            cross=self.cross + other.cross,
        )

    def gram(self, *, centred: bool) -> Doubles:
        """Give the mean of ``x x.T``, about the mean of ``x`` if ``centred``; (groups, K, K)."""
        return self._mean(self.grid_square, self.grid_sum, centred)

    def cross_gram(self, *, centred: bool) -> Doubles:
        """Give the mean of ``f x.T``, about both means if ``centred``; (groups, K, K)."""
        return self._mean(self.cross, self.float_sum, centred)

    def _mean(self, square: Doubles, left: Doubles, centred: bool) -> Doubles:
        mean = square / self.count
        if centred:
            mean = mean - (left / self.count)[:, :, None] * (self.grid_sum / self.count)[:, None, :]
        return mean


def layer_moments(
    layer: Layer,
    shape: tuple[int, ...],
    batches: Iterable[_Batch],
    *,
    on_grid: Callable[[_Batch], Floats],
    in_float: Callable[[_Batch], Floats] | None = None,
    threads: int = 1,
) -> Moments:
    """Run images up to a layer's input and sum up its moments.

    Args:
        layer: The layer.
        shape: Shape of its weight.
        batches: Images as the model takes them, or whatever the two functions start from.
        on_grid: A batch to the layer's input, from `runner`.
        in_float: The same in the float network; None where it is the same network.
        threads: Batches computed at a time; the result does not depend on it.

    Returns:
        The moments over all images.

    Raises:
        InputError: If there is no image, or an input is not finite.
    """

    def work(batch: _Batch) -> Moments:
        x = columns(on_grid(batch), layer, shape)
        f = x if in_float is None else columns(in_float(batch), layer, shape)
        return _moments(x, f)

    parts = in_order(work, batches, threads=threads)
    first = next(parts, None)
    if first is None:
        raise InputError("Expected at least one calibration image, got none. Pass images, e.g. with `--calib DIR`.")
    total = reduce(Moments.__add__, parts, first)
    if not (np.isfinite(total.grid_square).all() and np.isfinite(total.cross).all()):
        raise InputError(f"The input of the layer with weight '{layer.weight}' is not finite on a calibration image.")
    return total


def columns(values: Floats, layer: Layer, shape: tuple[int, ...]) -> Floats:
    """Give a layer's input as the columns its rows of weights are multiplied with.

    Args:
        values: The input: (n, C, ...) for Conv, (..., K) for Gemm and MatMul.
        layer: The layer.
        shape: Shape of its weight.

    Returns:
        (groups, K, columns) float32; for Conv K runs over (channel of the group, kernel position), the order of the
        weight, and the zeros of the padding are among the values.
    """
    if layer.window is None:
        return np.ascontiguousarray(values.reshape(-1, values.shape[-1]).T)[None]
    windows = _windows(values, layer.window)
    grouped = windows.reshape(len(values), layer.groups, shape[1], *windows.shape[2:])
    spatial = len(layer.window.kernel)
    positions = range(3, 3 + spatial)
    kernel = range(3 + spatial, 3 + 2 * spatial)
    ordered = grouped.transpose(1, 2, *kernel, 0, *positions)
    return np.ascontiguousarray(ordered).reshape(layer.groups, int(np.prod(shape[1:])), -1)


def _windows(values: Floats, window: Window) -> Floats:
    """Give (n, C, output positions..., kernel positions...) as a view of the padded input."""
    axes = len(window.kernel)
    pads = list(zip(window.pads[:axes], window.pads[axes:], strict=True))
    padded = np.pad(values, [(0, 0), (0, 0), *pads]) if any(window.pads) else values
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(window.kernel, window.dilations, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + axes)))
    steps = [slice(None, None, stride) for stride in window.strides]
    inside = [slice(None, None, dilation) for dilation in window.dilations]
    return views[(slice(None), slice(None), *steps, *inside)]


def _moments(x: Floats, f: Floats) -> Moments:
    turned = np.swapaxes(x, 1, 2)
    square = (x @ turned).astype(np.float64)
    grid_sum = x.sum(axis=2, dtype=np.float64)
    same = f is x
    return Moments(
        count=x.shape[2],
        grid_sum=grid_sum,
        float_sum=grid_sum if same else f.sum(axis=2, dtype=np.float64),
        grid_square=square,
        cross=square if same else (f @ turned).astype(np.float64),
    )
