"""Gaussian smoothing as SciPy defines it, in float32, on images and on random fields."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

TRUNCATION_GUARD = 1e-4
"""Added before truncation to whole levels: float32 sums of whole levels must not fall below them."""

_PIXEL_SCALE = np.arange(256) / 255


def smooth_image(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Convolve an image with a Gaussian that ends at four standard deviations, and truncate to whole grey levels.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation in pixels, 0 or more.
    """
    return filter_image(image, lambda channel: smooth(channel, sigma))


def filter_image(image: NDArray[np.uint8], blur: Callable[[Doubles], Doubles]) -> NDArray[np.uint8]:
    """Filter each channel of an image and truncate to whole grey levels.

    In flat regions the exact result is a whole level, and the rounding error decides whether truncation keeps it: so
    the order of operations is the reference's, in float64 and in pixel scale. One channel at a time stays in the cache.

    Args:
        image: (H, W, 3) uint8.
        blur: (H, W) float64 in [0, 1] to the same shape, in a new array, 0 or more but for rounding.
    """
    filtered: NDArray[np.uint8] = cv2.merge([_filter_channel(channel, blur) for channel in cv2.split(image)])
    return filtered


def _filter_channel(channel: NDArray[np.uint8], blur: Callable[[Doubles], Doubles]) -> NDArray[np.uint8]:
    filtered = blur(cv2.LUT(channel, _PIXEL_SCALE))
    np.minimum(filtered, 1, out=filtered)
    filtered *= 255
    return filtered.astype(np.uint8)


def smooth(image: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Convolve with a Gaussian that ends at four standard deviations, edges replicated.

    Args:
        image: (H, W) or (H, W, C), uint8, float32 or float64.
        sigma: Standard deviation in pixels, 0 or more.

    Returns:
        float64 for float64, else float32; of the same shape, on the scale of ``image``.
    """
    kernel = gaussian_kernel(sigma, truncate=4)
    depth = cv2.CV_64F if image.dtype == np.float64 else cv2.CV_32F
    smoothed: NDArray[Any] = cv2.sepFilter2D(image, depth, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return smoothed


@lru_cache(maxsize=64)
def gaussian_kernel(sigma: float, *, truncate: float) -> NDArray[np.float64]:
    """Give 2 r + 1 float64 weights that sum to 1; r is ``truncate`` standard deviations in whole pixels."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return np.ones(1)
    places = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (places / sigma) ** 2)
    kernel: NDArray[np.float64] = weights / weights.sum()
    return kernel


def smooth_field(field: Floats, sigma: float, *, truncate: float) -> Floats:
    """Convolve a field (H, W) float32 with a Gaussian, the field mirrored at its edges (the edge pixel repeated).

    Kernels longer than the field cost as many steps as the field has pixels on a side, not as the kernel is long.
    """
    kernel = gaussian_kernel(sigma, truncate=truncate)
    if kernel.size <= min(field.shape):
        smoothed: Floats = cv2.sepFilter2D(field, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT)
        return smoothed
    rows, columns = (_mirrored_matrix(side, sigma, truncate) for side in field.shape)
    return np.asarray(rows @ field @ columns.T, np.float32)


@lru_cache(maxsize=8)
def _mirrored_matrix(side: int, sigma: float, truncate: float) -> Floats:
    """Write the convolution of ``side`` mirrored values as a matrix (side, side)."""
    kernel = gaussian_kernel(sigma, truncate=truncate)
    radius = kernel.size // 2
    places = np.arange(side)[:, None] + np.arange(-radius, radius + 1)
    folded = places % (2 * side)
    folded = np.minimum(folded, 2 * side - 1 - folded)
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.arange(side)[:, None], folded), kernel)
    return matrix.astype(np.float32)
