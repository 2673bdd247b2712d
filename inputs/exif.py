"""The orientation that a camera wrote into EXIF: its reader, and the turn that makes an image upright."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

EXIF_POLICIES = ("applied", "ignored")
"""What a deployment does with the orientation: most serving stacks ignore it, ``cv2.imread`` and browsers apply it."""

UPRIGHT = 1
"""The orientation of an image that needs no turn, or says nothing."""

_TAG = 0x0112
_SHORT = 3
_ENTRY_BYTES = 12


class _Turn(NamedTuple):
    transpose: bool
    flip_rows: bool
    flip_columns: bool


_TURNS = {
    1: _Turn(False, False, False),
    2: _Turn(False, False, True),
    3: _Turn(False, True, True),
    4: _Turn(False, True, False),
    5: _Turn(True, False, False),
    6: _Turn(True, False, True),
    7: _Turn(True, True, True),
    8: _Turn(True, True, False),
}


def orientation_of(exif: bytes) -> int:
    """Read the orientation tag of the first image file directory.

    Args:
        exif: An EXIF block, with or without the six bytes ``Exif`` that JPEG puts before it; may be damaged.

    Returns:
        1..8; ``UPRIGHT`` where the block is damaged, or has no such tag of the type SHORT with such a value.

    Reference:
        Exif 2.32 (CIPA DC-008), 4.6.4 A: tag 274; TIFF 6.0, section 2. XMP's copy of the tag is not read.

    Example:
        >>> orientation_of(bytes.fromhex("4d4d 002a 00000008 0001 0112 0003 00000001 0006 0000 00000000"))
        6
    """
    block = exif.removeprefix(b"Exif\x00\x00")
    orders: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    order = orders.get(block[:2])
    if order is None:
        return UPRIGHT
    directory = int.from_bytes(block[4:8], order)
    count = int.from_bytes(block[directory : directory + 2], order)
    first = directory + 2
    for start in range(first, min(first + count * _ENTRY_BYTES, len(block)), _ENTRY_BYTES):
        tag, kind, _, value = (
            int.from_bytes(block[start + at : start + at + size], order)
            for at, size in ((0, 2), (2, 2), (4, 4), (8, 2))
        )
        if tag == _TAG:
            return value if kind == _SHORT and value in _TURNS else UPRIGHT
    return UPRIGHT


def upright_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Give the (height, width) that ``upright`` makes of an image; orientations 5 to 8 swap them."""
    return (width, height) if _TURNS[orientation].transpose else (height, width)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a stored image upright.

    Args:
        pixels: (H, W, 3) uint8 as stored.
        orientation: 1..8, as ``orientation_of`` gives it.

    Returns:
        (H, W, 3) uint8, or (W, H, 3) for orientations 5 to 8; C-contiguous, no pixel changed.

    Reference:
        Exif 2.32 (CIPA DC-008), 4.6.4 A, tag 274.
    """
    turn = _TURNS[orientation]
    pixels = pixels.swapaxes(0, 1) if turn.transpose else pixels
    pixels = pixels[::-1] if turn.flip_rows else pixels
    return np.ascontiguousarray(pixels[:, ::-1] if turn.flip_columns else pixels)
