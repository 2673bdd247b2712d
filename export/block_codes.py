"""Weights with one scale per block along the reduction axis, and their packed bytes. No ONNX graph is touched here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.codes import level_limit
from ..core.errors import InputError

_SHRINKS = np.linspace(0.5, 1.0, 51)  # 1.0 is among them: never worse than the largest magnitude


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockCodes:
    """A weight matrix whose every ``block`` entries along K share a scale; zero point 0.

    Attributes:
        codes: (K, N) int8, each of magnitude at most ``level_limit(bits)``.
        scales: (K // block, N) float32, positive.
        block: Entries that share a scale; divides K.
        bits: Width of the grid.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    block: int
    bits: int

    def values(self) -> NDArray[np.float32]:
        """Give the weights that the codes stand for: (K, N) float32."""
        return np.asarray(self.codes * np.repeat(self.scales, self.block, axis=0), np.float32)


def block_codes(weight: NDArray[np.float32], *, block: int, bits: int = 4, scale: str = "max") -> BlockCodes:
    """Round a weight matrix half to even on a symmetric grid per block.

    Args:
        weight: (K, N) float32, finite; ``block`` divides K.
        block: Entries along K that share a scale.
        bits: Width of the grid, 2..8.
        scale: ``"max"``: the outermost level is the block's largest magnitude. ``"mse"``: the best of 51 shrunken
            scales, from half to the whole of it, by the squared error of the block's weights.

    Returns:
        The codes; a block of zeros gets scale 1.

    Raises:
        InputError: If ``scale`` is neither, the block does not divide K, or a value is not finite.

    Reference:
        Per block: Dettmers et al. 2023, arXiv 2305.14314, sec. 2 (with a uniform grid instead of NF4); the scale by
        squared error: Choukroun et al. 2019, arXiv 1902.06822, eq. 5.

    Example:
        >>> block_codes(np.float32([[0.7], [-0.16], [1.4], [0.0]]), block=2).codes.ravel()
        array([ 7, -2,  7,  0], dtype=int8)
    """
    if scale not in ("max", "mse"):
        raise InputError(f"Expected `scale` 'max' or 'mse', got {scale!r}.")
    if block < 1 or len(weight) % block:
        raise InputError(f"Expected a `block` that divides the {len(weight)} rows of the weight, got {block}.")
    if not np.isfinite(weight).all():
        raise InputError("Expected finite weights, got NaN or infinity. Export the model again.")
    limit, (inputs, outputs) = level_limit(bits), weight.shape
    blocks = weight.reshape(inputs // block, block, outputs)
    largest = np.abs(blocks).max(axis=1).astype(np.float64) / limit
    scales = _usable(largest) if scale == "max" else _least_squares(blocks, largest, limit)
    return BlockCodes(codes=_codes(blocks, scales, limit).reshape(weight.shape), scales=scales, block=block, bits=bits)


def pack_nibbles(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack 4-bit two's complement codes two to a byte along the last axis, the first in the low half.

    Args:
        codes: (..., even) int8 in [-8, 7].

    Returns:
        (..., half as many) uint8. ONNX stores INT4 tensors so, over the flattened elements.
    """
    halves = codes.astype(np.uint8) & 0xF
    return np.asarray(halves[..., 0::2] | halves[..., 1::2] << 4, np.uint8)


def pack_blocks(codes: BlockCodes) -> NDArray[np.uint8]:
    """Pack codes as ONNX Runtime's MatMulNBits reads them: column by column, block by block, offset by 2**(bits - 1).

    Args:
        codes: 4 or 8 bits, an even block.

    Returns:
        (N, K // block, block * bits // 8) uint8; the zero point is left out of the file, its default is the offset.

    Reference:
        ``MatMulNBits`` in ONNX Runtime's ContribOperators.md.
    """
    inputs, outputs = codes.codes.shape
    offset = (codes.codes.astype(np.int16) + 2 ** (codes.bits - 1)).astype(np.uint8)
    columns = offset.T.reshape(outputs, inputs // codes.block, codes.block)
    return np.ascontiguousarray(columns if codes.bits == 8 else pack_nibbles(columns.view(np.int8)))


def _usable(scales: NDArray[np.float64]) -> NDArray[np.float32]:
    single = scales.astype(np.float32)
    return np.where(single >= np.finfo(np.float32).tiny, single, np.float32(1))


def _codes(blocks: NDArray[np.float32], scales: NDArray[np.float32], limit: int) -> NDArray[np.int8]:
    levels = np.clip(np.rint(blocks / scales[:, None]), -limit, limit)
    return np.asarray(levels, np.int8)


def _least_squares(blocks: NDArray[np.float32], largest: NDArray[np.float64], limit: int) -> NDArray[np.float32]:
    best, least = _usable(largest), np.full(largest.shape, np.inf)
    for shrink in _SHRINKS[::-1]:
        scales = _usable(largest * shrink)
        error = np.square(_codes(blocks, scales, limit) * scales[:, None] - blocks).sum(axis=1, dtype=np.float64)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return best
