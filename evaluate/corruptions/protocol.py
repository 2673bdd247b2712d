"""What a corruption is: the random numbers are drawn in one half and meet the image in the other.

Each file beside this one holds one corruption, whose ``draw`` and ``apply`` say what is their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .parameters import Draws, ParameterSet, Pixels


class Draw(Protocol):
    """The half that knows the image's shape and not the image."""

    def __call__(
        self, rng: np.random.Generator, shape: tuple[int, ...], severity: int, parameters: ParameterSet, /
    ) -> Draws:
        """Draw the random numbers behind one corrupted image.

        Args:
            rng: Where they come from; advanced.
            shape: (H, W, 3), any size from 1 x 1.
            severity: 1 (mild) to 5.
            parameters: ``"imagenet-c"`` or ``"cifar10-c"``.

        Returns:
            What ``Apply`` takes; the meaning of each array is the corruption's own.

        Raises:
            InputError: If severity or parameter set does not exist.
        """


class Apply(Protocol):
    """The half in which nothing is random."""

    def __call__(self, image: Pixels, draws: Draws, severity: int, parameters: ParameterSet, /) -> Pixels:
        """Corrupt one image and truncate to whole grey levels, as the published code does; no argument is changed.

        Args:
            image: (H, W, 3) uint8 RGB, any size from 1 x 1.
            draws: What ``Draw`` gives for the image's shape, or what ``legacy.legacy_draws`` gives for the image;
                the empty tuple where nothing is random.
            severity: 1 (mild) to 5.
            parameters: ``"imagenet-c"`` or ``"cifar10-c"``.

        Returns:
            (H, W, 3) uint8.

        Raises:
            InputError: If severity or parameter set does not exist.
        """


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A corruption in two halves, so that tests and other languages can feed the same random numbers.

    Attributes:
        apply: Takes image, draws, severity and parameter set.
        draw: Takes a generator, the image's shape, severity and parameter set; None where nothing is random.
    """

    apply: Apply
    draw: Draw | None = None
