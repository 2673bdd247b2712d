"""Everything around the thing: background, light, clutter behind it and occluders in front of it."""

import cv2
import numpy as np
from paint import Floats, Light, Part, Pose, Texture, hsv, paint, random_texture, tint
from shapes import Points, blob, box, ellipse, polygon, ring, rod, rounded_box, star


def random_light(rng: np.random.Generator) -> Light:
    """Return a light from somewhere above."""
    angle = rng.uniform(0.08, 0.42) * 2 * np.pi
    strength, shadow = rng.uniform(0.25, 0.75), rng.uniform(0.05, 0.35)
    return Light(x=float(np.cos(angle)), y=-float(np.sin(angle)), strength=strength, shadow=shadow)


def noise(rng: np.random.Generator, size: tuple[int, int], *, cell: int) -> Floats:
    """Return smooth (H, W) noise of zero mean and about unit deviation, with features ``cell`` pixels wide."""
    height, width = size
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def ramp(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Return an (H, W) linear gradient in [0, 1] of random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.linspace(-0.5, 0.5, size[0])[:, None], np.linspace(-0.5, 0.5, size[1])[None]
    return np.asarray(np.clip(0.5 + 0.8 * (np.cos(angle) * x + np.sin(angle) * y), 0, 1), dtype=np.float32)


def mixed(first: Floats, second: Floats, weight: Floats) -> Floats:
    """Return the (H, W, 3) mixture of two colours."""
    return np.asarray(first + (second - first) * weight[..., None], dtype=np.float32)


def landscape(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Return a sky over a ground, or a wall over a table."""
    horizon = rng.uniform(0.4, 0.85) + 0.03 * np.cumsum(rng.normal(0, 0.05, size[1])).astype(np.float32)
    rows = np.linspace(0, 1, size[0], dtype=np.float32)[:, None]
    sky = mixed(tint(rng, 0.45, 0.7, dull=0.4), hsv(rng.uniform(0, 1), 0.2, 0.9), np.broadcast_to(rows, size))
    low = mixed(tint(rng, 0.05, 0.45, dull=0.3), tint(rng, 0.05, 0.45, dull=0.5), np.broadcast_to(rows, size))
    below = np.clip((rows - horizon) * size[0] / 2, 0, 1).astype(np.float32)
    return np.asarray(sky + (low - sky) * below[..., None], dtype=np.float32)


def fabric(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Return a striped, dotted or chequered cloth."""
    canvas = mixed(tint(rng, dull=0.3), tint(rng, dull=0.3), ramp(rng, size))
    texture = random_texture(rng)
    part = Part(outlines=(box(-9, -9, 9, 9),), color=canvas.mean(axis=(0, 1)), relief=0.0, texture=texture)
    scale = rng.uniform(0.15, 0.45) * min(size)
    pose = Pose(matrix=np.eye(2) * scale, offset=np.array([size[1] / 2, size[0] / 2]), scale=scale)
    light = Light(x=0.0, y=-1.0, strength=0.0, shadow=0.0)
    cloth = canvas.copy()
    paint(cloth, [part], pose, light)
    return np.asarray(canvas + (cloth - canvas) * np.float32(rng.uniform(0.25, 0.8)), dtype=np.float32)


def stone(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Return a mottled surface of two colours."""
    layers = [noise(rng, size, cell=cell) * weight for cell, weight in ((24, 0.5), (10, 0.35), (4, 0.25))]
    return mixed(tint(rng, dull=0.3), tint(rng, dull=0.3), np.clip(0.5 + np.sum(layers, axis=0), 0, 1))


def bokeh(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Return out-of-focus lights over a gradient."""
    canvas = mixed(tint(rng, dull=0.2) * np.float32(0.7), tint(rng, dull=0.4), ramp(rng, size))
    glow = np.zeros_like(canvas)
    for _ in range(int(rng.integers(6, 16))):
        centre = (int(rng.integers(size[1])), int(rng.integers(size[0])))
        color = [float(c) for c in tint(rng) * np.float32(rng.uniform(0.3, 0.7))]
        cv2.circle(glow, centre, int(rng.uniform(0.04, 0.14) * min(size)), color, -1, cv2.LINE_AA)
    lit = cv2.GaussianBlur(glow, (0, 0), 1.5) * np.float32(0.6)
    return np.asarray(canvas * (1 - 0.5 * glow) + lit, dtype=np.float32)


def background(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Return a random (H, W, 3) float32 background with uneven light and fine grain."""
    kinds = (landscape, landscape, fabric, stone, bokeh)
    canvas = kinds[int(rng.integers(len(kinds)))](rng, size)
    uneven = 1 + 0.06 * noise(rng, size, cell=32) + np.float32(rng.uniform(0, 0.05)) * noise(rng, size, cell=1)
    falloff = 1 - np.float32(rng.uniform(0, 0.4)) * ramp(rng, size)
    return np.asarray(np.clip(canvas * (uneven * falloff)[..., None], 0.02, 1.1), dtype=np.float32)


def random_shape(rng: np.random.Generator) -> tuple[Points, ...]:
    """Return the outlines of a simple shape that also occurs within the things."""
    radius, slim = rng.uniform(0.5, 0.9), rng.uniform(0.1, 0.25)
    choices: tuple[tuple[Points, ...], ...] = (
        (ellipse(0, 0, 0.9, radius),),
        ring(0, 0, 0.9, radius, width=slim + 0.1),
        (rod((-1, 0), (1, 0), slim),),
        (polygon((-0.9, 0.7), (0, -radius), (0.9, 0.7)),),
        (rounded_box(-0.9, -radius, 0.9, radius, radius=0.1),),
        (ellipse(0, 0, 0.9, 0.9, start=0.5, stop=1.0),),
        (blob(rng, 0, 0, 0.8),),
        (star(0, 0, 1.0, points=int(rng.integers(4, 9)), depth=rng.uniform(0.3, 0.8)),),
        (polygon((-0.9, -0.3), (0.9, -0.3), (0.55, 0.35), (-0.55, 0.35)),),
    )
    return choices[int(rng.integers(len(choices)))]


def scrap(rng: np.random.Generator) -> Part:
    """Return a distractor: a simple shape in a random colour, at times textured."""
    texture: Texture | None = random_texture(rng) if rng.random() < 0.3 else None
    color = tint(rng, dull=rng.uniform(0, 0.7))
    return Part(outlines=random_shape(rng), color=color, relief=rng.uniform(0.05, 0.3), texture=texture)


def loose_pose(rng: np.random.Generator, centre: Points, scale: float) -> Pose:
    """Return a pose of any rotation at the given place."""
    angle, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Pose(matrix=scale * turn @ np.diag([1.0, squeeze]), offset=centre, scale=scale)


def clutter(canvas: Floats, rng: np.random.Generator, light: Light, *, count: int) -> None:
    """Paint ``count`` distractors anywhere on the canvas, in place."""
    height, width = canvas.shape[:2]
    for _ in range(count):
        centre = rng.uniform(0, 1, size=2) * (width, height)
        scale = rng.uniform(0.06, 0.2) * min(height, width)
        paint(canvas, [scrap(rng)], loose_pose(rng, centre, scale), light)


def occluders(canvas: Floats, rng: np.random.Generator, light: Light, pose: Pose) -> None:
    """Paint up to three distractors over parts of the posed thing, in place."""
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.25, 0.35, 0.25, 0.15]))):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0)
        centre = pose.offset + pose.scale * distance * np.array([np.cos(angle), np.sin(angle)])
        paint(canvas, [scrap(rng)], loose_pose(rng, centre, pose.scale * rng.uniform(0.2, 0.48)), light)
