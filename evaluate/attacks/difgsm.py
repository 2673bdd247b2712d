"""DI: the gradient is taken through a random resize and padding of the image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ...core.errors import InputError
from .climb import Ascent, Estimate, climb, plain
from .gradient import Floats, Images, Probe, TransferResult, TransferTask

PROBABILITY = 0.5
SMALLEST = 0.9


class Placement(NamedTuple):
    """Where one image goes for one gradient.

    Attributes:
        height: Rows after resizing.
        width: Columns after resizing.
        top: Rows of zeros above it.
        left: Columns of zeros to its left.
    """

    height: int
    width: int
    top: int
    left: int


def difgsm(task: TransferTask, ascent: Ascent) -> TransferResult:
    """Raise the cross-entropy of randomly shrunk and padded copies, with momentum (MI-DI-FGSM).

    Args:
        task: Images, labels and the source of gradients.
        ascent: Radius, steps and momentum; decay 0 is the paper's DI-FGSM, 1 its M-DI-FGSM.

    Returns:
        The uint8 adversarials of the last step, at most eps levels away, and the share of zero gradients.

    Raises:
        InputError: If an argument is not as stated, or the images are too small to shrink.

    Reference:
        Xie et al. 2019, arXiv 1803.06978, eq. 6 and 7, p = 0.5. A model file takes one size, so images shrink to
        0.9 of theirs and more and are padded back with black; the paper enlarges them by up to 1.1.
    """
    return climb(task, ascent, estimate=diverse(plain, task, f"difgsm:eps={ascent.eps}"))


def diverse(
    inner: Estimate, task: TransferTask, name: str, *, smallest: float = SMALLEST, probability: float = PROBABILITY
) -> Estimate:
    """Estimate through a random placement of every image, with its own draws for every estimate.

    Args:
        inner: How the gradient of the placed image is found.
        task: Gives each image's stream.
        name: Name of the streams.
        smallest: Smallest side after resizing, as a share of the image's, in (0, 1).
        probability: Share of estimates that see the placed image; the others see the image as it is.

    Raises:
        InputError: If the images are too small to shrink.
    """
    streams = list(task.streams(name))
    height, width = task.images.shape[1:3]
    if int(min(height, width) * smallest) in (0, min(height, width)):
        raise InputError(f"Expected images of at least 10 pixels a side to shrink them, got {height}x{width}.")

    def estimate(probe: Probe, images: Images | Floats, momentum: Floats) -> Floats:
        placements = [draw_placement(rng, height, width, smallest, probability) for rng in streams]
        placed = [place(image, placement) for image, placement in zip(images, placements, strict=True)]
        gradients = inner(probe, _stacked(placed, images), momentum)
        back = (place_back(gradient, placement) for gradient, placement in zip(gradients, placements, strict=True))
        return _stacked(back, images)

    return estimate


def draw_placement(
    rng: np.random.Generator, height: int, width: int, smallest: float, probability: float
) -> Placement | None:
    """Draw a size and a place for it, or None where the image is to stay as it is.

    The shorter side's new length is uniform on [smallest, 1) of it, the aspect ratio is kept, the place is uniform.
    """
    shorter = min(height, width)
    side = int(rng.integers(int(shorter * smallest), shorter))
    rows, columns = height * side // shorter, width * side // shorter
    top, left = int(rng.integers(0, height - rows)), int(rng.integers(0, width - columns))
    return Placement(rows, columns, top, left) if rng.random() < probability else None


def place(image: Images | Floats, placement: Placement | None) -> Floats:
    """Shrink an image, (H, W, 3), and put it on black; float64 grey levels."""
    image = image.astype(np.float64)
    if placement is None:
        return image
    height, width = image.shape[:2]
    canvas = np.zeros_like(image)
    window = _window(placement)
    canvas[window] = _along(image, _bilinear(placement.height, height), _bilinear(placement.width, width))
    return canvas


def place_back(gradient: Floats, placement: Placement | None) -> Floats:
    """Apply the transpose of `place` to a gradient, (H, W, 3)."""
    if placement is None:
        return gradient
    height, width = gradient.shape[:2]
    rows, columns = _bilinear(placement.height, height), _bilinear(placement.width, width)
    return _along(gradient[_window(placement)], rows.T, columns.T)


def _window(placement: Placement) -> tuple[slice, slice]:
    return (
        slice(placement.top, placement.top + placement.height),
        slice(placement.left, placement.left + placement.width),
    )


def _along(image: Floats, rows: Floats, columns: Floats) -> Floats:
    """Multiply a matrix onto the rows and one onto the columns of an image."""
    height, width, channels = image.shape
    tall = (rows @ image.reshape(height, width * channels)).reshape(len(rows), width, channels)
    wide: Floats = columns @ tall  # one product per row
    return wide


def _bilinear(outputs: int, inputs: int) -> Floats:
    """Give the (outputs, inputs) matrix of bilinear resizing without antialiasing, pixel centres aligned."""
    places = np.maximum((np.arange(outputs) + 0.5) * inputs / outputs - 0.5, 0)
    first = np.floor(places).astype(int)
    second = np.minimum(first + 1, inputs - 1)
    share = places - first
    matrix = np.zeros((outputs, inputs))
    np.add.at(matrix, (np.arange(outputs), first), 1 - share)
    np.add.at(matrix, (np.arange(outputs), second), share)
    return matrix


def _stacked(parts: Iterable[Floats], like: Images | Floats) -> Floats:
    parts = list(parts)
    return np.stack(parts) if parts else np.zeros(like.shape)
