"""Paints flat parts with relief, texture and shadow on a float canvas; what is painted lives in ``things.py``."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from shapes import Points

Floats: TypeAlias = npt.NDArray[np.float32]
Size: TypeAlias = tuple[int, ...]
Kind: TypeAlias = Literal["stripes", "dots", "checks", "grain"]

SUBPIXEL_BITS = 4


@dataclass(frozen=True, kw_only=True)
class Texture:
    """A second colour mixed into a part: the pattern's cycles per object unit, angle in turns, and share in [0, 1]."""

    kind: Kind
    color: Floats
    cycles: float
    turns: float = 0.0
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Part:
    """One piece of an object: even-odd filled outlines, RGB colour in [0, 1], edge roundness in object units."""

    outlines: tuple[Points, ...]
    color: Floats
    relief: float = 0.15
    texture: Texture | None = None


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Maps object coordinates to canvas pixels: ``matrix @ point + offset``; ``scale`` is pixels per object unit."""

    matrix: Points
    offset: Points
    scale: float


@dataclass(frozen=True, kw_only=True)
class Light:
    """Direction the light comes from (unit vector, canvas axes), its strength and the length of its shadows."""

    x: float
    y: float
    strength: float
    shadow: float


def hsv(hue: float, saturation: float, value: float) -> Floats:
    """Return an RGB colour (3,) float32 in [0, 1]; the hue wraps around."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), dtype=np.float32)


def tint(rng: np.random.Generator, low: float = 0.0, high: float = 1.0, *, dull: float = 0.0) -> Floats:
    """Return a random colour with its hue in [low, high]; ``dull`` in [0, 1] takes saturation away."""
    return hsv(rng.uniform(low, high), rng.uniform(0.45, 0.95) * (1 - dull), rng.uniform(0.42, 1.0))


def random_texture(rng: np.random.Generator, *, kinds: Sequence[Kind] = ("stripes", "dots", "checks")) -> Texture:
    """Return a texture with random colour, frequency and angle."""
    kind = kinds[int(rng.integers(len(kinds)))]
    cycles, turns, share = rng.uniform(1.5, 4.0), rng.uniform(0, 1), rng.uniform(0.35, 0.9)
    return Texture(kind=kind, color=tint(rng), cycles=cycles, turns=turns, share=share)


def coverage(groups: Sequence[Sequence[Points]], pose: Pose, size: Size, *, pad: int) -> tuple[Floats, slice, slice]:
    """Return the antialiased union of even-odd filled groups of outlines within their padded window, and the window."""
    every = np.concatenate([outline for group in groups for outline in group]) @ pose.matrix.T + pose.offset
    low, high = every.min(axis=0), every.max(axis=0)
    limit = np.array([size[1], size[0]])
    low = np.clip(np.floor(low).astype(int) - pad, 0, limit)
    high = np.clip(np.ceil(high).astype(int) + pad, low, limit)
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), dtype=np.uint8)
    fixed, start = np.rint((every - low) * 2**SUBPIXEL_BITS).astype(np.int32), 0
    for group in groups if mask.size else ():
        stops = start + np.cumsum([len(outline) for outline in group])
        pieces, start = np.split(fixed[start : stops[-1]], stops[:-1] - start), stops[-1]
        cv2.fillPoly(mask, pieces, (255,), lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
    return mask * np.float32(1 / 255), slice(low[1], high[1]), slice(low[0], high[0])


def blurred(image: Floats, sigma: float) -> Floats:
    """Return a Gaussian blur with a black border, done at reduced size where sigma is large."""
    height, width = image.shape[:2]
    step = max(1, int(sigma / 1.5))
    size = (max(1, width // step), max(1, height // step))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(sigma / step, 0.3), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def shading(mask: Floats, width_px: float, light: Light) -> Floats:
    """Return the brightness factor of a pillow-shaped relief whose rounded edge is ``width_px`` wide."""
    height = blurred(mask, max(width_px, 0.7))
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=0.125)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=0.125)
    facing = -(slope_x * light.x + slope_y * light.y) * max(width_px, 0.7) * 2.5
    glint = np.clip(facing - 0.55, 0, None) * 1.5
    return np.asarray(np.clip(0.92 + light.strength * facing, 0.3, 1.45) + glint, dtype=np.float32)


def pattern(texture: Texture, pose: Pose, rows: slice, columns: slice) -> Floats:
    """Return the texture's mixing weight in [0, 1] for a canvas window."""
    y, x = np.mgrid[rows, columns].astype(np.float32)
    if texture.kind == "grain":
        noise = np.sin(x * np.float32(12.9898) + y * np.float32(78.233)) * np.float32(43758.5453)
        return np.asarray((noise - np.floor(noise)) * texture.share, dtype=np.float32)
    inverse = np.linalg.inv(pose.matrix).astype(np.float32)
    dx, dy = x - np.float32(pose.offset[0]), y - np.float32(pose.offset[1])
    u, v = inverse[0, 0] * dx + inverse[0, 1] * dy, inverse[1, 0] * dx + inverse[1, 1] * dy
    cos, sin = np.cos(2 * np.pi * texture.turns), np.sin(2 * np.pi * texture.turns)
    rate = np.float32(2 * np.pi * texture.cycles)
    a, b = np.sin(rate * (cos * u + sin * v)), np.sin(rate * (cos * v - sin * u))
    waves = {"stripes": 4 * a, "dots": 5 * (a + b) - 5, "checks": 6 * a * b}
    return np.asarray(np.clip(0.5 + waves[texture.kind], 0, 1) * texture.share, dtype=np.float32)


def paint_part(canvas: Floats, part: Part, pose: Pose, light: Light) -> None:
    """Paint one part over the canvas (H, W, 3) float32, in place."""
    width_px = part.relief * pose.scale
    mask, rows, columns = coverage([part.outlines], pose, canvas.shape[:2], pad=int(width_px) + 2)
    if not mask.size:
        return
    color = np.broadcast_to(part.color, (*mask.shape, 3))
    if part.texture is not None:
        weight = pattern(part.texture, pose, rows, columns)[..., None]
        color = color + (part.texture.color - color) * weight
    window = canvas[rows, columns]
    window += (color * shading(mask, width_px, light)[..., None] - window) * mask[..., None]


def paint_shadow(canvas: Floats, parts: Sequence[Part], pose: Pose, light: Light) -> None:
    """Darken the canvas where the parts cast a soft shadow away from the light, in place."""
    throw = np.array([-light.x, -light.y]) * light.shadow * pose.scale
    moved = Pose(matrix=pose.matrix, offset=pose.offset + throw, scale=pose.scale)
    sigma = 0.08 * pose.scale + 1
    mask, rows, columns = coverage([part.outlines for part in parts], moved, canvas.shape[:2], pad=int(2.5 * sigma))
    if mask.size:
        canvas[rows, columns] *= (1 - np.float32(0.55) * blurred(mask, sigma))[..., None]


def paint(canvas: Floats, parts: Sequence[Part], pose: Pose, light: Light) -> None:
    """Paint an object's shadow, then its parts from back to front, in place."""
    paint_shadow(canvas, parts, pose, light)
    for part in parts:
        paint_part(canvas, part, pose, light)
