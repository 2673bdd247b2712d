"""The resizers a deployment may use, by name; which size to ask for is the pipeline's business.

Equal names do not mean equal pixels: Pillow's filters widen with the reduction (antialias), OpenCV's do not, and the
two ``nearest`` pick different source pixels. That is what the preprocessing conditions measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.errors import unknown
from .geometry import Window
from .resize_ffmpeg import resize_ffmpeg
from .resize_fir import resize_fir
from .resize_separable import resize_separably
from .resize_taps import Sampling

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Resizer:
    """One way of resizing.

    Attributes:
        run: Takes (H, W, 3) uint8, the height and the width of the resized image, and the window of it that is wanted;
            gives that window's pixels, (window.height, window.width, 3) uint8.
        emulates: Of which library this is a copy, and how close; empty where it is the library.
    """

    run: Callable[[Pixels, int, int, Window], Pixels]
    emulates: str = ""


def resize(image: Pixels, *, height: int, width: int, resizer: str, window: Window | None = None) -> Pixels:
    """Resize an image with the named resizer, and keep a window of it.

    Args:
        image: (H, W, 3) uint8.
        height: Rows of the resized image, at least 1.
        width: Columns of the resized image, at least 1.
        resizer: A name of ``RESIZERS``.
        window: What is wanted of the resized image, inside it; None for all. Asking for less can take less time.

    Returns:
        (window.height, window.width, 3) uint8; the image's own pixels where its size is right, as torchvision does.

    Raises:
        InputError: If the resizer is unknown.
        UnsupportedError: If the resizer's package is not installed.
    """
    if resizer not in RESIZERS:
        raise unknown("resizer", resizer, RESIZERS)
    window = window or Window(top=0, left=0, height=height, width=width)
    if image.shape[:2] == (height, width):
        return window.of(image)
    return RESIZERS[resizer].run(image, height, width, window)


def _whole(resized: Callable[[Pixels, int, int], Pixels]) -> Resizer:
    return Resizer(run=lambda image, height, width, window: window.of(resized(image, height, width)))


def _pillow(resample: Image.Resampling) -> Resizer:
    return _whole(lambda image, height, width: np.asarray(Image.fromarray(image).resize((width, height), resample)))


def _opencv(interpolation: int) -> Resizer:
    return _whole(lambda image, height, width: cv2.resize(image, (width, height), interpolation=interpolation))


def _ffmpeg(kernel: str) -> Resizer:
    return _whole(lambda image, height, width: resize_ffmpeg(image, height, width, kernel=kernel))


def _separable(emulates: str, sampling: Sampling) -> Resizer:
    return Resizer(
        run=lambda image, height, width, window: resize_separably(image, height, width, window, sampling),
        emulates=emulates,
    )


def _torch(kernel: str, *, antialias: bool) -> Resizer:
    border = "renormalise" if antialias else "replicate"
    sampling = Sampling(kernel=kernel, antialias=antialias, border=border, fixed_point=True)
    return _separable("torch on uint8, bit for bit", sampling)


def _tensorflow(sampling: Sampling) -> Resizer:
    return _separable("TensorFlow, rounded to whole levels, within 1", sampling)


def _pick(offset: float) -> Resizer:
    def run(image: Pixels, height: int, width: int, window: Window) -> Pixels:
        rows = _nearest(image.shape[0], height, offset)[window.top : window.top + window.height]
        columns = _nearest(image.shape[1], width, offset)[window.left : window.left + window.width]
        return image[rows[:, None], columns]

    return Resizer(run=run, emulates="torch on uint8, bit for bit")


def _nearest(source: int, outputs: int, offset: float) -> NDArray[np.int64]:
    scale = np.float32(source) / np.float32(outputs)  # torch computes it in float32
    picked = np.floor((np.arange(outputs, dtype=np.float32) + np.float32(offset)) * scale)
    indices: NDArray[np.int64] = picked.clip(0, source - 1).astype(np.int64)
    return indices


RESIZERS: Mapping[str, Resizer] = {
    # DALI gives the weight of what lies beyond the border to the edge.
    "dali-triangular": _separable("DALI on a CPU, within 1 level", Sampling(antialias=True, border="replicate")),
    "ffmpeg-bicubic": _ffmpeg("bicubic"),
    "ffmpeg-bilinear": _ffmpeg("bilinear"),
    "fir-bilinear": Resizer(run=resize_fir),
    "opencv-area": _opencv(cv2.INTER_AREA),
    "opencv-cubic": _opencv(cv2.INTER_CUBIC),
    "opencv-lanczos": _opencv(cv2.INTER_LANCZOS4),
    "opencv-linear": _opencv(cv2.INTER_LINEAR),
    "opencv-linear-exact": _opencv(cv2.INTER_LINEAR_EXACT),
    "opencv-nearest": _opencv(cv2.INTER_NEAREST),
    "opencv-nearest-exact": _opencv(cv2.INTER_NEAREST_EXACT),
    "pillow-bicubic": _pillow(Image.Resampling.BICUBIC),
    "pillow-bilinear": _pillow(Image.Resampling.BILINEAR),
    "pillow-box": _pillow(Image.Resampling.BOX),
    "pillow-hamming": _pillow(Image.Resampling.HAMMING),
    "pillow-lanczos": _pillow(Image.Resampling.LANCZOS),
    "pillow-nearest": _pillow(Image.Resampling.NEAREST),
    "tf-bilinear": _tensorflow(Sampling()),
    "tf-bilinear-antialias": _tensorflow(Sampling(antialias=True)),
    "tf1-bilinear": _tensorflow(Sampling(coordinates="asymmetric")),
    "tf1-bilinear-align-corners": _tensorflow(Sampling(coordinates="align-corners")),
    "torch-bicubic": _torch("cubic-0.75", antialias=False),
    "torch-bicubic-antialias": _torch("cubic-0.5", antialias=True),
    "torch-bilinear": _torch("linear", antialias=False),
    "torch-bilinear-antialias": _torch("linear", antialias=True),
    "torch-nearest": _pick(0),
    "torch-nearest-exact": _pick(0.5),
}
"""Name to resizer: RobustART's eleven (arXiv 2109.05211), and those of torch, TensorFlow, DALI, FFmpeg and fir."""
