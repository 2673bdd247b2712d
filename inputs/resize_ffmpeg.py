"""FFmpeg's scaler (swscale), through PyAV."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UnsupportedError


def resize_ffmpeg(image: NDArray[np.uint8], height: int, width: int, *, kernel: str) -> NDArray[np.uint8]:
    """Resize with swscale, which widens its kernels with the reduction.

    Args:
        image: (H, W, 3) uint8 RGB.
        height: Rows wanted.
        width: Columns wanted.
        kernel: ``"bilinear"`` or ``"bicubic"``.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        UnsupportedError: If PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UnsupportedError(
            f"The resizer `ffmpeg-{kernel}` needs PyAV. Run: pip install 'robustmq-trt[decoders]'."
        ) from error
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    resized: NDArray[np.uint8] = frame.reformat(width=width, height=height, interpolation=kernel.upper()).to_ndarray()
    return resized
