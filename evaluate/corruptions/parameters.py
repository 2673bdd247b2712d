"""The two published parameter sets, what a severity is, and the types all corruptions share.

Reference:
    Hendrycks & Dietterich 2019, arXiv 1903.12261, and their code: the values for ImageNet-C (224 x 224) and for
    CIFAR-10-C (32 x 32) differ in every corruption. Widths are pixels whatever the size of the image. Results are
    ``raw`` here; the downloadable ImageNet-C was stored as JPEG of quality 85 (``jpeg85``), which dampens its noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError, unknown

ParameterSet = Literal["imagenet-c", "cifar10-c"]
PARAMETER_SETS: tuple[ParameterSet, ...] = ("imagenet-c", "cifar10-c")
SEVERITIES = (1, 2, 3, 4, 5)
SMALL_SIDE = 64
"""Longest short side, in pixels, that counts as a small image."""

Pixels = NDArray[np.uint8]
Draws = tuple[NDArray[Any], ...]
"""The random numbers behind one corrupted image; what they mean is said in each file's ``draw``."""

Value = TypeVar("Value")


def default_parameters(height: int, width: int) -> ParameterSet:
    """Choose the parameter set for images of one size: ``cifar10-c`` up to a short side of 64, else ``imagenet-c``."""
    return "cifar10-c" if min(height, width) <= SMALL_SIDE else "imagenet-c"


def at_severity(table: Mapping[ParameterSet, tuple[Value, ...]], severity: int, parameters: ParameterSet) -> Value:
    """Look up one corruption's value.

    Args:
        table: Five values for each parameter set.
        severity: 1 (mild) to 5.
        parameters: ``"imagenet-c"`` or ``"cifar10-c"``.

    Raises:
        InputError: If the severity or the parameter set does not exist.
    """
    if isinstance(severity, bool) or severity not in SEVERITIES:
        raise InputError(f"Expected `severity` in 1..5, got {severity}. Use one of the five.")
    if parameters not in table:
        raise unknown("parameter set", str(parameters), table)
    return table[parameters][severity - 1]
