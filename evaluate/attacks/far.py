"""Where an attack that sees labels alone begins: an image that fools the engine, however far away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .protocol import Image
from .walk import Part, Scene

Floats = NDArray[np.float32]


def far_image(scene: Scene) -> Part[Floats]:
    """Ask until an image fools the engine: on the line through the scene's start, if there is one, else noise.

    Returns:
        (H, W, 3) float32 of whole grey levels in 0..255.
    """
    if scene.start is not None and (scene.start != scene.image).any():
        original = scene.image.astype(np.float32)
        step = scene.start.astype(np.float32) - original
        far: Floats = np.clip(original + step * np.float32(255 / np.abs(step).max()), 0, 255)
        answer = yield on_levels(far)
        if answer.wrong:
            return far
    while True:
        noise: Floats = np.floor(scene.rng.random(scene.image.shape, dtype=np.float32) * 256)
        answer = yield on_levels(noise)
        if answer.wrong:
            return noise


def on_levels(point: Floats) -> Image:
    """Give a point of 0..255 rounded to uint8."""
    return np.rint(point).astype(np.uint8)
