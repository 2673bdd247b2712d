"""The round trip of a picture through a camera's memory: RGB to YUV 4:2:0 and back, well or wrongly read.

Cameras, video decoders and image signal processors hand on YUV with halved chroma, not RGB. NV12 and planar YUV420 hold
the same numbers in another order, so their names say here what usually comes with them: chroma repeated (``nv12``, as
OpenCV and most fixed hardware convert) or interpolated (``yuv420``, as texture units and good software do).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import unknown

NO_CAMERA = "none"


class _Weights(NamedTuple):
    red: float
    blue: float


_WEIGHTS = {"bt601": _Weights(0.299, 0.114), "bt709": _Weights(0.2126, 0.0722)}
_RANGES = ("full", "limited")


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How RGB is stored as YUV 4:2:0, and how it is read back.

    Attributes:
        matrix: ``"bt601"`` or ``"bt709"``, in which it is written.
        range: ``"full"`` (0..255) or ``"limited"`` (luma 16..235, chroma 16..240), in which it is written.
        read_matrix: The matrix the reader believes in.
        read_range: The range the reader believes in.
        interpolated: Whether the reader interpolates chroma between its samples, or repeats it.
    """

    matrix: str
    range: str
    read_matrix: str
    read_range: str
    interpolated: bool


def photograph(image: NDArray[np.uint8], camera: str) -> NDArray[np.uint8]:
    """Give the image as it comes out of a camera's YUV memory.

    Luma and chroma are rounded to 8 bits; a chroma sample is the mean of its 2 x 2 pixels and sits in their middle. An
    odd last row or column is repeated for it. Values that leave 0..255 are clipped.

    Args:
        image: (H, W, 3) uint8 RGB, any size from 1 x 1.
        camera: A name of ``CAMERAS``, or ``"none"``.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous; the image itself for ``"none"``.

    Raises:
        InputError: If the camera is unknown.

    Reference:
        ITU-R BT.601-7, 2.5; BT.709-6, 3 and 4; JFIF 1.02 for the full range.
    """
    if camera == NO_CAMERA:
        return image
    if camera not in CAMERAS:
        raise unknown("camera", camera, [NO_CAMERA, *CAMERAS])
    return _round_trip(image, CAMERAS[camera])


def _round_trip(image: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE).astype(np.float32)
    to_yuv = _to_yuv(camera.matrix, camera.range)
    luma = _levels(cv2.transform(even, to_yuv[:1]))
    chroma = _levels(cv2.transform(cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), to_yuv[1:]))
    up = cv2.INTER_LINEAR if camera.interpolated else cv2.INTER_NEAREST
    spread = cv2.resize(chroma, (even.shape[1], even.shape[0]), interpolation=up)
    yuv = np.concatenate([luma.reshape(*even.shape[:2], 1), spread], axis=2)
    rgb = cv2.transform(yuv, _from_yuv(camera.read_matrix, camera.read_range))
    return np.ascontiguousarray(_levels(rgb)[:height, :width].astype(np.uint8))


def _levels(values: Any) -> NDArray[np.float32]:
    levels: NDArray[np.float32] = np.rint(values).clip(0, 255)
    return levels


def _to_yuv(matrix: str, levels: str) -> NDArray[np.float64]:
    """Give the (3, 4) affine map from RGB to YUV, both in 0..255."""
    red, blue = _WEIGHTS[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    of_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    of_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    luma_scale, chroma_scale, foot = (219 / 255, 224 / 255, 16) if levels == "limited" else (1, 1, 0)
    rows = np.stack([luma * luma_scale, of_blue * chroma_scale, of_red * chroma_scale])
    return np.column_stack([rows, [foot, 128, 128]])


def _from_yuv(matrix: str, levels: str) -> NDArray[np.float64]:
    forward = _to_yuv(matrix, levels)
    back = np.linalg.inv(forward[:, :3])
    return np.column_stack([back, -back @ forward[:, 3]])


def _read_right(matrix: str, levels: str, *, interpolated: bool) -> Camera:
    return Camera(matrix=matrix, range=levels, read_matrix=matrix, read_range=levels, interpolated=interpolated)


def _misread(matrix: str, levels: str, *, read_matrix: str, read_range: str) -> Camera:
    return Camera(matrix=matrix, range=levels, read_matrix=read_matrix, read_range=read_range, interpolated=False)


CAMERAS: Mapping[str, Camera] = {
    **{f"nv12-{m}-{r}": _read_right(m, r, interpolated=False) for m in _WEIGHTS for r in _RANGES},
    **{f"yuv420-{m}-{r}": _read_right(m, r, interpolated=True) for m in _WEIGHTS for r in _RANGES},
    "nv12-bt601-as-bt709": _misread("bt601", "limited", read_matrix="bt709", read_range="limited"),
    "nv12-bt709-as-bt601": _misread("bt709", "limited", read_matrix="bt601", read_range="limited"),
    "nv12-full-as-limited": _misread("bt601", "full", read_matrix="bt601", read_range="limited"),
    "nv12-limited-as-full": _misread("bt601", "limited", read_matrix="bt601", read_range="full"),
}
"""Name to camera: eight that are read as they were written, and the four mistakes that integrations make."""
