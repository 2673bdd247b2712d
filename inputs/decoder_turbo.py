"""libjpeg-turbo through simplejpeg, with the two short cuts that serving stacks take: a faster DCT, plainer chroma."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UnsupportedError
from .containers import Container
from .decoder_pillow import decode_pillow


def turbo(*, fast_dct: bool, box_chroma: bool) -> Callable[[Container, int], NDArray[np.uint8]]:
    """Give a decoder of JPEGs with libjpeg-turbo.

    It is strict: a file that libjpeg would merely warn about is refused. What is not a grey or YCbCr JPEG is handed to
    Pillow.

    Args:
        fast_dct: The inverse DCT that rounds more (``JDCT_IFAST``), TensorFlow's default.
        box_chroma: Chroma is repeated instead of interpolated (``do_fancy_upsampling`` off), DALI's default.

    Returns:
        A function of an inspected file and a reduction (1, 2, 4 or 8) that gives (H, W, 3) uint8 RGB.

    Raises:
        UnsupportedError: By the function, where simplejpeg is not installed.

    Reference:
        libjpeg-turbo, ``libjpeg.txt``: ``dct_method``, ``do_fancy_upsampling``.
    """

    def decode(container: Container, reduction: int) -> NDArray[np.uint8]:
        library = _simplejpeg()
        if not container.plain:
            return decode_pillow(container, reduction)
        pixels: NDArray[np.uint8] = library.decode_jpeg(
            container.content,
            fastdct=fast_dct,
            fastupsample=box_chroma,
            min_height=-(-container.height // reduction),
            min_width=-(-container.width // reduction),
            min_factor=reduction,
        )
        return pixels

    return decode


def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError as error:
        raise UnsupportedError(
            "The `turbo` decoders need simplejpeg. Run: pip install 'robustmq-trt[decoders]'."
        ) from error
    return simplejpeg
