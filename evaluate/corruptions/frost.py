"""Frost on the lens: a photograph of frosted glass laid over the picture.

The photographs that ImageNet-C was made with have no stated origin and are not part of this project. They are read from
a folder that holds ``frost1.png``, ``frost2.png``, ``frost3.png``, ``frost4.jpg``, ``frost5.jpg``, or from the package
imagecorruptions where it is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ...core.errors import InputError, UnsupportedError
from ...core.files import sha256_file, sha256_json
from .parameters import Draws, ParameterSet, Pixels, at_severity


class Frost(NamedTuple):
    """Weight of the picture and weight of the frost."""

    picture: float
    frost: float


FROST: Mapping[ParameterSet, tuple[Frost, ...]] = {
    "imagenet-c": (Frost(1, 0.4), Frost(0.8, 0.6), Frost(0.7, 0.7), Frost(0.65, 0.7), Frost(0.6, 0.75)),
    "cifar10-c": (Frost(1, 0.2), Frost(1, 0.3), Frost(0.9, 0.4), Frost(0.85, 0.4), Frost(0.75, 0.45)),
}
"""Severities 1 to 5."""

SCALE: Mapping[ParameterSet, float] = {"imagenet-c": 1.0, "cifar10-c": 0.2}
"""What the photographs are resized by."""

# The reference has a sixth photograph and draws among five.
FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
_NEEDED = f"The folder needs {', '.join(FILES)}."


def draw(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    severity: int,
    parameters: ParameterSet,
    *,
    folder: Path | None = None,
) -> Draws:
    """Draw a photograph and a place in it: the part of it that covers the image, (H, W, 3) uint8 RGB.

    ``folder`` is where the photographs are, or None for those of imagecorruptions; for the rest see ``Draw``.

    Raises:
        UnsupportedError: If there are no photographs.
        InputError: If a file of the folder can't be read.
    """
    number, down, right = rng.random(3)
    textures = frost_textures(folder or installed_folder(), SCALE[parameters])
    texture = textures[int(number * len(textures))]
    return (cut_out(texture, shape, float(down), float(right)),)


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Add picture and frost with their weights and clip; see ``Apply``.

    ``draws``: (H, W, 3) uint8 RGB, the frost.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; with the same frost, equal in every byte.
    """
    (texture,) = draws
    place = np.left_shift(image, 8, dtype=np.intp)
    place |= texture
    return _table(at_severity(FROST, severity, parameters)).take(place)


@lru_cache(maxsize=10)  # 64 KiB each
def _table(weights: Frost) -> Pixels:
    """Tabulate the sum for (level of the picture, level of the frost): (65536,) uint8.

    Many exact sums are whole levels, where the rounding error of the reference in float64 decides.
    """
    levels = np.arange(256)
    sums = weights.picture * levels[:, None] + weights.frost * levels
    return np.clip(sums, 0, 255).astype(np.uint8).reshape(-1)


def installed_folder() -> Path:
    """Find the photographs of an installed imagecorruptions, without importing it.

    Raises:
        UnsupportedError: If it is not installed.
    """
    package = importlib.util.find_spec("imagecorruptions")
    if package is None or package.origin is None:
        raise UnsupportedError(
            "The corruption 'frost' needs the photographs that ImageNet-C was made with. Name their folder with "
            "--frost-dir, install the package imagecorruptions, or use 'frost_procedural', which is another corruption."
        )
    return Path(package.origin).parent / "frost"


@lru_cache(maxsize=2)
def textures_sha256(folder: Path | None) -> str:
    """Give one hash over the five photographs, for results that depend on them.

    Args:
        folder: Where they are, or None for those of imagecorruptions.

    Raises:
        UnsupportedError: If none are named and imagecorruptions is not installed.
        InputError: If one is missing.
    """
    found = folder or installed_folder()
    absent = [name for name in FILES if not (found / name).is_file()]
    if absent:
        raise InputError(f"Expected a photograph of frost in '{found / absent[0]}', got none. {_NEEDED}")
    return sha256_json([sha256_file(found / name) for name in FILES])


@lru_cache(maxsize=2)  # five photographs of some MB
def frost_textures(folder: Path, scale: float) -> tuple[Pixels, ...]:
    """Read the five photographs.

    Args:
        folder: Where they are.
        scale: What they are resized by.

    Returns:
        (H, W, 3) uint8 RGB each.

    Raises:
        InputError: If one can't be read.
    """
    return tuple(_read(folder / name, scale) for name in FILES)


def _read(path: Path, scale: float) -> Pixels:
    content = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)
    texture = cv2.imdecode(content, cv2.IMREAD_COLOR_BGR) if content.size else None
    if texture is None:
        raise InputError(f"Expected a photograph of frost in '{path}', got none. {_NEEDED}")
    if scale != 1:
        texture = cv2.resize(texture, (0, 0), fx=scale, fy=scale)
    rgb: Pixels = cv2.cvtColor(texture, cv2.COLOR_BGR2RGB)
    return rgb


def cut_out(texture: Pixels, shape: tuple[int, ...], down: float, right: float) -> Pixels:
    """Cut a part of an image's size out of a photograph, enlarged first if it is too small.

    Args:
        texture: (H', W', 3) uint8.
        shape: (H, W, 3).
        down: Place of the part, 0 at the top to (not reached) 1 at the bottom.
        right: The same from left to right.
    """
    height, width = shape[:2]
    needed = max((height + 1) / texture.shape[0], (width + 1) / texture.shape[1])
    if needed > 1:
        size = -(-texture.shape[1] * needed // 1), -(-texture.shape[0] * needed // 1)
        texture = cv2.resize(texture, (int(size[0]), int(size[1])), interpolation=cv2.INTER_LINEAR)
    top, left = int(down * (texture.shape[0] - height)), int(right * (texture.shape[1] - width))
    return texture[top : top + height, left : left + width]
