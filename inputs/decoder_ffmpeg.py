"""FFmpeg's JPEG decoder and its colour conversion (swscale), through PyAV."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UnsupportedError
from .containers import Container
from .decoder_pillow import decode_pillow

_END_OF_IMAGE = b"\xff\xd9"


def decode_ffmpeg(container: Container, reduction: int) -> NDArray[np.uint8]:
    """Decode a JPEG with FFmpeg's own decoder and swscale, which repeats chroma.

    What is not a grey or YCbCr JPEG is handed to Pillow: of CMYK, FFmpeg makes another colour than everybody else.

    Args:
        container: An inspected file.
        reduction: 1, 2, 4 or 8 (``lowres``).

    Returns:
        (H, W, 3) uint8 RGB as stored, each side divided by ``reduction`` and rounded up.

    Raises:
        UnsupportedError: If PyAV is not installed.
        ValueError: If the file is truncated, which FFmpeg itself hides, or holds several frames.
        Exception: Of FFmpeg, if the file is damaged.
    """
    library = _av()
    if not container.plain:
        return decode_pillow(container, reduction)
    if _END_OF_IMAGE not in container.content:
        raise ValueError("truncated, the end of the image is missing")
    context = library.CodecContext.create("mjpeg", "r")
    context.thread_count = 1
    context.options = {"err_detect": "explode", "lowres": str(reduction.bit_length() - 1)}
    frames = context.decode(library.Packet(container.content)) + context.decode(None)
    if len(frames) != 1:
        raise ValueError(f"expected one frame, got {len(frames)}")
    pixels: NDArray[np.uint8] = frames[0].to_ndarray(format="rgb24", threads=1)
    return pixels


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UnsupportedError("The decoder `ffmpeg` needs PyAV. Run: pip install 'robustmq-trt[decoders]'.") from error
    return av
