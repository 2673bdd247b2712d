"""Turns rendered scenes into JPEG bytes, and JPEG bytes into the classifier's pixels."""

import io
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scene import Split, render, stream

SIDE = 64
SHORT_SIDE = int(SIDE / 0.875)
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def photo(split: Split, label: int, index: int) -> bytes:
    """Return one image of a split as a JPEG file of quality 80 to 95."""
    rng = stream(split, label, index)
    pixels = render(label, rng)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(80, 96)), optimize=True)
    return file.getvalue()


def crop(data: bytes, *, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Decode, resize the short side to 73 pixels and cut out the centre: (side, side, 3) uint8."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    ratio = SHORT_SIDE / min(image.size)
    size = [SHORT_SIDE if length == min(image.size) else int(length * ratio) for length in image.size]
    image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def normalised(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return (N, H, W, 3) uint8 pixels as the network's (N, 3, H, W) float32 input."""
    return np.ascontiguousarray(((pixels / np.float32(255) - MEAN) / STD).transpose(0, 3, 1, 2))


def _crop_of(key: tuple[Split, int, int, int]) -> npt.NDArray[np.uint8]:
    cv2.setNumThreads(1)
    split, label, index, side = key
    return crop(photo(split, label, index), side=side)


def crops(
    split: Split, labels: Iterable[int], indices: range, *, side: int = SIDE, workers: int = 2
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Render every (label, index) of a split; return (N, side, side, 3) uint8 pixels and (N,) labels."""
    keys = [(split, label, index, side) for label in labels for index in indices]
    with ProcessPoolExecutor(workers) as pool:
        pixels = np.stack(list(pool.map(_crop_of, keys, chunksize=64)))
    return pixels, np.array([key[1] for key in keys], dtype=np.int64)
