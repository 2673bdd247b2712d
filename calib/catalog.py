"""The calibration methods by name; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from ..core.errors import InputError, unknown
from .entropy import entropy
from .histogram import Observed
from .minmax import minmax
from .mse import mse
from .percentile import percentile

Method = Callable[[Observed], tuple[float, float]]
"""Turns what one tensor did into the range (low, high) it is clipped to."""


@dataclass(frozen=True, kw_only=True)
class MethodEntry:
    """A method and what it asks of the observation.

    Attributes:
        choose: The method.
        needs_histogram: False where the extremes are enough.
    """

    choose: Method
    needs_histogram: bool


METHODS: Mapping[str, MethodEntry] = MappingProxyType(
    {
        "entropy": MethodEntry(choose=entropy, needs_histogram=True),
        "minmax": MethodEntry(choose=minmax, needs_histogram=False),
        "mse": MethodEntry(choose=mse, needs_histogram=True),
        "percentile": MethodEntry(choose=percentile, needs_histogram=True),
    }
)


def find_method(name: str) -> MethodEntry:
    """Look a method up; ``percentile:99.9`` sets the share that stays inside, ``mse:4`` the width of the grid in bits.

    Raises:
        InputError: If the name is unknown, the share is no number in (0, 100], the width is not 2..8, or another method
            is given an argument.
    """
    base, colon, argument = name.partition(":")
    if base not in METHODS:
        raise unknown("calibration method", base, METHODS)
    if not colon:
        return METHODS[base]
    if base == "mse":
        return MethodEntry(choose=partial(mse, bits=_bits(name, argument)), needs_histogram=True)
    return MethodEntry(choose=partial(percentile, percent=_percent(name, base, argument)), needs_histogram=True)


def _percent(name: str, base: str, argument: str) -> float:
    if base != "percentile":
        raise InputError(f"Calibration method '{base}' takes no argument, got '{name}'. Write '{base}'.")
    try:
        percent = float(argument)
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 100:
        raise InputError(f"Expected 'percentile:P' with P in (0, 100], got '{name}'. Write e.g. 'percentile:99.9'.")
    return percent


def _bits(name: str, argument: str) -> int:
    if argument not in [str(bits) for bits in range(2, 9)]:
        raise InputError(f"Expected 'mse:B' with B in 2..8, got '{name}'. Write e.g. 'mse:4'.")
    return int(argument)
