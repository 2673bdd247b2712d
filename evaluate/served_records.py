"""The records that every study of served images is made of."""

from __future__ import annotations

from ..core.record import Record
from ..core.statistics import Interval
from .paired import compare
from .rates import record, share
from .served import Served


def accuracy(served: Served, engine: str, way: str, reference: str | None, seed: int) -> Record:
    """Give the share of images an engine answers rightly in one way, compared with another engine's in the same way."""
    right = served.right(engine, way)
    comparison = None if reference is None else compare(reference, right, served.right(reference, way), seed)
    return record(engine, way, "accuracy", share(right), seed, comparison)


def change(served: Served, engine: str, way: str, base: str, metric: str, seed: int) -> Record:
    """Give an engine's accuracy in one way minus its own in another, ``base``, tested in pairs."""
    found = compare(base, served.right(engine, way), served.right(engine, base), seed)
    interval = Interval(value=found.difference, low=found.low, high=found.high, n=served.labels.size)
    return record(engine, way, metric, interval, seed, found)


def flips(served: Served, place: tuple[str, str], other: tuple[str, str], seed: int) -> Record:
    """Give the share of images answered otherwise than by another engine, or in another way.

    Args:
        served: The answers.
        place: (engine, way) whose record it is.
        other: (engine, way) it is compared with.
        seed: Seed of the study.
    """
    differs = served.answers[place] != served.answers[other]
    return record(*place, "flips", share(differs), seed, identity={"from": " ".join(other)})
