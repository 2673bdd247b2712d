"""A picture of too few pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from .parameters import Draws, ParameterSet, Pixels, at_severity

SHARE: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (0.6, 0.5, 0.4, 0.3, 0.25),
    "cifar10-c": (0.95, 0.9, 0.85, 0.75, 0.65),
}
"""Share of the pixels that is left on each side, severities 1 to 5."""


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Shrink by area and stretch back to blocks; see ``Apply``.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261, with Pillow as here; equal in every byte.
    """
    share = at_severity(SHARE, severity, parameters)
    height, width = image.shape[:2]
    size = max(1, int(width * share)), max(1, int(height * share))
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    # Enlarging by area is copying the nearest pixel, which Pillow does faster under that name.
    halfway = _is_halfway(size[0], width) or _is_halfway(size[1], height)
    enlarge = Image.Resampling.BOX if halfway else Image.Resampling.NEAREST
    return np.array(small.resize((width, height), enlarge))


def _is_halfway(small: int, large: int) -> bool:
    """Tell whether some of the ``large`` pixels lie in the middle between two of the ``small`` ones.

    Pixel i lies at ``(2 i + 1) small / (2 large)``, a whole number only if ``small`` holds more factors of two.
    """
    return small % (2 * (large & -large)) == 0
