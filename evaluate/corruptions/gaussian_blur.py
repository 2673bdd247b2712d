"""Gaussian blur."""

from __future__ import annotations

from collections.abc import Mapping

from .parameters import Draws, ParameterSet, Pixels, at_severity
from .smoothing import smooth_image

SIGMA: Mapping[ParameterSet, tuple[float, ...]] = {
    "imagenet-c": (1, 2, 3, 4, 6),
    "cifar10-c": (0.4, 0.6, 0.7, 0.8, 1),
}
"""Standard deviation in pixels, severities 1 to 5."""


def apply(image: Pixels, draws: Draws, severity: int, parameters: ParameterSet) -> Pixels:
    """Smooth with edges replicated; see ``Apply``.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261; equal in every byte of photographs.
    """
    sigma = at_severity(SIGMA, severity, parameters)
    return smooth_image(image, sigma)
