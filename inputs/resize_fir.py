"""fast_image_resize, a library in Rust: Pillow's bilinear in 8-bit vector instructions, through cykooz-resizer."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UnsupportedError
from .geometry import Window


class _Span(NamedTuple):
    """One axis of what is handed over: the source's pixels from ``start`` to ``stop``, and the part to resize."""

    start: int
    stop: int
    offset: float  # from start
    length: float


def resize_fir(image: NDArray[np.uint8], height: int, width: int, window: Window) -> NDArray[np.uint8]:
    """Resize with a triangle that widens with the reduction, computing the window alone.

    The passes run in the other order than Pillow's and round between them as Pillow's do: most pixels are equal, a
    sixth of a photograph's are one level off, and one in millions is two levels off.

    Args:
        image: (H, W, 3) uint8.
        height: Rows of the whole resized image.
        width: Columns of the whole resized image.
        window: What is kept of it.

    Returns:
        (window.height, window.width, 3) uint8.

    Raises:
        UnsupportedError: If cykooz-resizer is not installed.
    """
    library = _cykooz_resizer()
    down = _span(image.shape[0], height, window.top, window.height)
    across = _span(image.shape[1], width, window.left, window.width)
    wanted = image[down.start : down.stop, across.start : across.stop]
    source = library.ImageData(wanted.shape[1], wanted.shape[0], library.PixelType.U8x3, wanted.tobytes())
    resized = library.ImageData(window.width, window.height, library.PixelType.U8x3)
    options = library.ResizeOptions(
        resize_alg=library.ResizeAlg.convolution(library.FilterType.bilinear),
        crop_box=library.CropBox(across.offset, down.offset, across.length, down.length),
    )
    library.Resizer().resize(source, resized, options)
    return np.frombuffer(resized.get_buffer(), np.uint8).reshape(window.height, window.width, 3)


def _span(source: int, outputs: int, first: int, count: int) -> _Span:
    """Find the pixels under some outputs; the library would copy all others, too."""
    scale = source / outputs
    reach = max(scale, 1.0)  # half of the triangle's base
    start = max(0, math.floor(first * scale - reach))
    stop = min(source, math.ceil((first + count) * scale + reach))
    offset = first * scale - start
    return _Span(start, stop, offset, min(count * scale, stop - start - offset))  # rounded, it could end outside


def _cykooz_resizer() -> Any:
    try:
        import cykooz_resizer
    except ImportError as error:
        raise UnsupportedError(
            "The resizer `fir-bilinear` needs cykooz-resizer. Run: pip install 'robustmq-trt[decoders]'."
        ) from error
    return cykooz_resizer
