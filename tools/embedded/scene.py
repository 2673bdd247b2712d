"""Renders one labelled image: a thing in a cluttered, lit scene. The splits' random streams live here too."""

from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from backdrop import background, clutter, occluders, random_light
from paint import Floats, Pose, paint
from things import THINGS

Split: TypeAlias = Literal["train", "calib", "eval", "heldout"]

CLASSES: tuple[str, ...] = tuple(thing.__name__ for thing in THINGS)
SPLITS: tuple[Split, ...] = ("train", "calib", "eval", "heldout")
FREE_TURNS = {"key": 0.5, "fish": 0.12}
"""Largest rotation in turns, to either side, of the things that do not stand upright."""


def stream(split: Split, label: int, index: int) -> np.random.Generator:
    """Return the random stream of one image: Philox keyed by (split, class, index), so no two images share one."""
    return np.random.Generator(np.random.Philox(key=np.array([SPLITS.index(split) << 32 | label, index], np.uint64)))


def random_pose(rng: np.random.Generator, size: tuple[int, int], *, max_turns: float) -> Pose:
    """Return a random rotation, scale, stretch, shear, mirroring and place near the canvas centre."""
    height, width = size
    scale = rng.uniform(0.23, 0.42) * min(size)
    angle = 2 * np.pi * rng.uniform(-max_turns, max_turns)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch, shear = np.exp(rng.uniform(-0.18, 0.18)), rng.uniform(-0.2, 0.2)
    shape = np.array([[rng.choice([-1.0, 1.0]) * stretch, shear], [0.0, 1 / stretch]])
    room = max(0.08, 0.44 - scale / min(size)) * min(size)
    offset = np.array([width / 2, height / 2]) + rng.uniform(-room, room, size=2)
    return Pose(matrix=scale * turn @ shape, offset=offset, scale=scale)


def develop(canvas: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return the photograph of a canvas: exposure, white balance, lens blur, sensor noise."""
    image = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.choice([0.4, rng.uniform(0.4, 1.5)])), dtype=np.float32)
    image *= rng.uniform(0.92, 1.08, size=3).astype(np.float32)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * np.float32(rng.uniform(0.55, 1.15))
    image = cv2.pow(np.clip(image, 0, 1), np.exp(rng.uniform(-0.4, 0.2)))
    image = (image - 0.5) * np.float32(rng.uniform(0.65, 1.1)) + np.float32(0.5 + rng.uniform(-0.08, 0.08))
    image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0.0, 0.04))
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), dtype=np.uint8)


def random_size(rng: np.random.Generator) -> tuple[int, int]:
    """Return a random image size (height, width): short side 80 to 160 pixels, aspect 1 to 1.5, either way round."""
    short = int(rng.integers(80, 161))
    long = int(short * rng.uniform(1.0, 1.5))
    return (short, long) if rng.random() < 0.6 else (long, short)


def render(label: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Render one random scene that shows a thing of the given class.

    Args:
        label: Class number, 0 <= label < 10, in the order of ``CLASSES``.
        rng: Source of every random choice; equal streams give equal images.

    Returns:
        (H, W, 3) uint8 RGB, short side 80 to 160 pixels.
    """
    size = random_size(rng)
    light, thing = random_light(rng), THINGS[label]
    canvas = background(rng, size)
    clutter(canvas, rng, light, count=int(rng.integers(2, 9)))
    pose = random_pose(rng, size, max_turns=FREE_TURNS.get(CLASSES[label], 0.07))
    paint(canvas, thing(rng), pose, light)
    occluders(canvas, rng, light, pose)
    return develop(canvas, rng)
