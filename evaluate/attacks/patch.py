"""Adversarial patch: a square anywhere on an image, learned on other images; and the noise patch it is judged by."""

from __future__ import annotations

import math

import numpy as np

from ...core.errors import InputError
from ...core.randomness import image_stream
from .bsr import Mixing, mix, mix_back, read_between
from .gradient import MAX_LEVEL, Floats, Images, TransferResult, TransferTask
from .learn import Box, Craft, Lesson, Worn, learn

LARGEST_AREA = 50
DEGREES = 22.5
_FIRST_STEP = 32.0
_PLACES = "patch placement"  # one stream for the patch and its control, so that both cover the same pixels


def patch(lesson: Lesson, *, area: int, steps: int) -> Craft:
    """Learn one square that raises the loss of all images wherever it lies, and give what puts it on any image.

    It is learned over random places and turns, drawn anew for each image and step, and put on an image of a task at
    the place and turn drawn from that image's own stream. Its size does not vary: it is what the attacker is granted.

    Args:
        lesson: Images to learn from, and the source of gradients.
        area: Share of the image that the patch covers at most, in percent, 1..50.
        steps: Number of mini-batches.

    Returns:
        What makes the patched images of a task; the share of zero gradients is that of learning, for every image.

    Raises:
        InputError: If a setting is outside its range, or the square does not fit on the images.

    Reference:
        Brown et al. 2017, arXiv 1712.09665, section 2: the expectation over images, places l and transformations t, of
        which the rotations up to 22.5 degrees of the authors' code are drawn and their scales are not. Untargeted: the
        clamped loss of the true class rises where the paper lets a target's probability rise.
        Sign steps from grey, the first of 32 levels.
    """
    height, width = lesson.images.shape[1:3]
    side = side_of(area, height, width)
    start = np.full((side, side, 3), MAX_LEVEL / 2)
    box = Box(low=0, high=MAX_LEVEL, step=_FIRST_STEP)
    found = learn(lesson, start, _placed, box, steps=steps, task=f"patch:area={area}")
    pattern = np.rint(found.values)
    return lambda task: _delivered(task, pattern, found.zero_gradient_share)


def patch_control(task: TransferTask, *, area: int) -> TransferResult:
    """Put a square of uniform noise where `patch` of the same area puts its own: what covering alone does.

    Args:
        task: The images; no gradient is asked for.
        area: Share of the image that the patch covers at most, in percent, 1..50.

    Returns:
        The images with one noise patch for all of them, drawn from the seed.

    Raises:
        InputError: If ``area`` is outside its range, or the square does not fit on the images.
    """
    side = side_of(area, *task.images.shape[1:3])
    noise = image_stream(task.seed, f"patch_control:area={area}", "").integers(0, 256, (side, side, 3))
    return _delivered(task, noise.astype(np.float64), 0.0)


def side_of(area: int, height: int, width: int) -> int:
    """Give the side in pixels of the largest square that covers at most a share of an image and fits on it turned.

    Raises:
        InputError: If ``area`` is not in 1..50 percent, or no such square fits.

    Example:
        >>> side_of(5, 32, 32), side_of(5, 224, 224)
        (7, 50)
    """
    if not 1 <= area <= LARGEST_AREA:
        raise InputError(f"Expected `area` in 1..{LARGEST_AREA} percent of the image, got {area}.")
    side = math.isqrt(area * height * width // 100)
    if side < 1 or 2 * _half(side, DEGREES) > min(height, width):
        raise InputError(f"A square patch of {area} % does not fit on images of {height}x{width}. Choose another area.")
    return side


def draw_place(rng: np.random.Generator, side: int, height: int, width: int) -> Mixing:
    """Draw a turn of up to 22.5 degrees and a place where the whole square lies on the image, both uniform.

    Returns:
        Which pixels of a (H, W) canvas, with the square in its first rows and columns, each pixel is mixed from; its
        weights sum to the square's coverage of that pixel.
    """
    degrees = rng.uniform(-DEGREES, DEGREES)
    half = _half(side, degrees)
    middle = half - 0.5 + rng.random() * (height - 2 * half)
    centre = half - 0.5 + rng.random() * (width - 2 * half)
    down, right = np.mgrid[:height, :width].astype(np.float64) - np.reshape([middle, centre], (2, 1, 1))
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = (side - 1) / 2 + cosine * down - sine * right
    columns = (side - 1) / 2 + sine * down + cosine * right
    return read_between(rows, columns, np.reshape([0.0, side - 1, 0, side - 1], (4, 1, 1)))


def put(pattern: Floats, image: Images, place: Mixing) -> Floats:
    """Cover an image, (H, W, 3), with a (side, side, 3) pattern; float64 grey levels."""
    canvas = np.zeros(image.shape)
    canvas[: len(pattern), : len(pattern)] = pattern
    bare = 1 - place.weights.sum(axis=0).reshape(*image.shape[:2], 1)
    covered: Floats = image * bare + mix(canvas, place)
    return covered


def _placed(pattern: Floats, images: Images, rng: np.random.Generator) -> Worn:
    side = len(pattern)
    places = [draw_place(rng, side, *images.shape[1:3]) for _ in images]

    def pull(gradients: Floats) -> Floats:
        total = np.zeros_like(pattern)
        for gradient, place in zip(gradients, places, strict=True):
            total += mix_back(gradient, place)[:side, :side]
        return total

    return Worn(np.stack([put(pattern, image, place) for image, place in zip(images, places, strict=True)]), pull)


def _delivered(task: TransferTask, pattern: Floats, zero_gradient_share: float) -> TransferResult:
    made = np.empty_like(task.images)
    for i, rng in enumerate(task.streams(_PLACES)):
        made[i] = np.rint(put(pattern, task.images[i], draw_place(rng, len(pattern), *made.shape[1:3])))
    return TransferResult(adversarials=made, zero_gradient_shares=np.full(len(made), zero_gradient_share))


def _half(side: int, degrees: float) -> float:
    """Give half the extent of a turned square along each axis."""
    turn = math.radians(abs(degrees))
    return side / 2 * (math.cos(turn) + math.sin(turn))
