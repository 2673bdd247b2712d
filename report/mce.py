"""One sentence per family of corruptions: how many errors an engine makes in the mean, in errors of the reference."""

from __future__ import annotations

import re

from ..core.record import Record
from . import format as wording
from .document import Document, Target
from .lookup import ALL_CORRUPTIONS, reference

_METRIC = re.compile(r"(?P<relative>relative_)?mce(?P<bar>_c_bar)?(?:_of_(?P<part>\d+))?\Z")
_EQUAL = 1.0


def mce_sentences(document: Document, target: Target) -> str:
    """Word an engine's mean corruption errors against the reference, each with its interval; empty without any.

    An interval that holds 100 % tells nothing apart, and the sentence says so. These are two figures a family, not
    adjusted for the many tests of single conditions.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261, section 4.3, the reference engine in AlexNet's place.
    """
    base = reference(document)
    if base is None or base is target:
        return ""
    found = [
        (record, match)
        for record in document.records
        if (record.engine, record.condition) == (target.name, ALL_CORRUPTIONS)
        and (match := _METRIC.match(record.metric))
    ]
    return "".join(f" {_family(match)}: {_figure(record, base.name)}." for record, match in found)


def _family(match: re.Match[str]) -> str:
    family = "ImageNet-C-bar" if match["bar"] else "ImageNet-C"
    part = f" over {match['part']} of its corruptions alone" if match["part"] else ""
    return f"Clean errors taken off{part}" if match["relative"] else f"mCE of {family}{part}"


def _figure(record: Record, base: str) -> str:
    images = wording.plural(record.n, "image")
    bounds = wording.interval(record.low, record.high, record.unit)
    figure = (
        f"{wording.percent(record.value)} of the errors of {base} (unadjusted 95\u00a0% interval {bounds}, {images})"
    )
    if not (record.low > _EQUAL or record.high < _EQUAL):  # nor with bounds that were not measured
        return f"{figure}, not distinguishable from {wording.percent(_EQUAL)}"
    return f"{figure}, {'more' if record.value > _EQUAL else 'fewer'} than the reference makes"
