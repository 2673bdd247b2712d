"""ADBA on the uint8 grid: two directions of signs are compared at a radius that tells them apart, label only."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .rays import WIDEST, Ray, first_signs, turned
from .reach import Signs
from .walk import Part, Scene, Search

_MOST_COMPARISONS = 8
# How radii of the decision boundary are spread: share s = 1 - radius / widest has density a / (s + d)^b + c.
_A, _B, _C, _D = 0.0313, 3.066, 0.168, 0.134
_MEDIAN_HALVINGS = 10


def adba(scene: Scene) -> Search:
    """Turn one of two neighbouring blocks of signs, whichever lets the label change sooner.

    Both directions are asked at one radius; if both change the label there, a smaller one is tried, if neither, a
    larger one, until one direction alone does. The boundary is never searched for more closely than that. Radii
    are medians of the paper's density of boundaries ("ADBA-md").

    Reference:
        Wang et al. 2025 (AAAI), arXiv 2406.04998, Algorithms 1 and 2 with the density of their code.
        Differences: radii on the uint8 grid as in ``rays``; the search begins again with halves of the image when
        every value has been turned; a start gives the first signs.
    """
    yield from scene.opening()
    ray = Ray(scene.image, scene.rng)
    best, radius = first_signs(scene.image, scene.start), WIDEST
    for pair in halves(best.size):
        winner, radius = yield from _compared(ray, [turned(best, block) for block in pair], radius)
        if winner is not None:
            best = winner


def _compared(ray: Ray, attempts: list[Signs], radius: float) -> Part[tuple[Signs | None, float]]:
    """Give the direction whose label changes sooner than at ``radius``, and the smallest radius it was seen at."""
    standing = yield from _fooling(ray, attempts, radius)
    if not standing:
        return None, radius
    low, widest = 0.0, radius
    for _ in range(_MOST_COMPARISONS):
        if len(standing) == 1:
            break
        middle = median_radius(low, radius, widest)
        left = yield from _fooling(ray, standing, middle)
        if left:
            standing, radius = left, middle
        else:
            low = middle
    return standing[0], radius


def _fooling(ray: Ray, attempts: list[Signs], radius: float) -> Part[list[Signs]]:
    found = []
    for attempt in attempts:
        answer = yield ray.at(attempt, radius)
        if answer.wrong:
            found.append(attempt)
    return found


def median_radius(low: float, high: float, widest: float) -> float:
    """Give the radius that the boundary is as likely to lie below as above, of those between two in grey levels.

    Args:
        low: Radius at which no label changed.
        high: Radius at which labels changed.
        widest: The radius that the comparison began at, ``high`` or more.

    Example:
        >>> round(median_radius(0, 255, 255)), round(median_radius(0, 238, 255))
        (238, 207)
    """
    bottom, top = 1 - high / widest, 1 - low / widest
    half = (_mass(bottom) + _mass(top)) / 2
    for _ in range(_MEDIAN_HALVINGS):
        middle = (bottom + top) / 2
        bottom, top = (middle, top) if _mass(middle) < half else (bottom, middle)
    return (1 - (bottom + top) / 2) * widest


def _mass(share: float) -> float:
    """Integrate the density up to a share, but for a constant."""
    return _A / (1 - _B) * math.pow(share + _D, 1 - _B) + _C * share


def halves(size: int) -> Iterator[list[slice]]:
    """Give the two halves of 0..size-1, then those of each half and so on down to single values, again and again."""
    parts = [slice(0, size)]
    while True:
        cut: list[slice] = []
        for part in parts:
            middle = (part.start + part.stop + 1) // 2
            pair = [slice(part.start, middle), slice(middle, part.stop)] if middle < part.stop else [part]
            cut += pair
            yield pair
        parts = [slice(0, size)] if len(cut) == size else cut
