"""Which record answers which question: the document's entries by role, group and engine."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal

from ..core.record import Record
from .document import Document, Latency, Target

Group = Literal["clean", "corruptions", "preprocessing", "attacks", "checks", "routes"]
ALL_CORRUPTIONS = "corruptions"  # the condition of a mean over all corruptions
GROUPS: tuple[Group, ...] = ("clean", "corruptions", "preprocessing", "attacks")
CHECKS: Group = (
    "checks"  # noise and attacks without a bound: they say whether an attack works, not what an engine holds
)
ROUTES: Group = "routes"  # images on their way to the engine; they answer no question of their own


def reference(document: Document) -> Target | None:
    """Give the target that the others are compared with, if there is one."""
    return next((target for target in document.targets if target.role == "reference"), None)


def subjects(document: Document) -> tuple[Target, ...]:
    """Give the targets the headline speaks of: the candidates, or every target where there are none."""
    candidates = tuple(target for target in document.targets if target.role == "candidate")
    return candidates or document.targets


def engine_names(document: Document) -> tuple[str, ...]:
    """Give every engine's name once, targets first; the order decides colour and marker."""
    mentioned = [target.name for target in document.targets]
    mentioned += [record.engine for record in document.records]
    mentioned += [entry.engine for entry in document.latency]
    mentioned += [series.engine for curve in document.curves for series in curve.series]
    mentioned += [audit.engine for audit in document.audits]
    mentioned += [a.engine for example in document.examples for picture in example.images for a in picture.answers]
    return tuple(dict.fromkeys(mentioned))


def group_of(condition: str) -> Group:
    """Tell what kind of change a condition is.

    Example:
        >>> [group_of(name) for name in ("clean", "jpeg:3", "preset:cifar10", "pgd:eps=8", "worst-case:eps=8")]
        ['clean', 'corruptions', 'preprocessing', 'attacks', 'attacks']
    """
    if condition == "clean":
        return "clean"
    if " via " in condition:
        return ROUTES
    if _is_check(condition):
        return CHECKS
    if condition.startswith("preset:"):
        return "preprocessing"
    return "corruptions" if condition == ALL_CORRUPTIONS or re.search(r":\d+\Z", condition) else "attacks"


def _is_check(condition: str) -> bool:
    name, _, settings = condition.partition(":")
    in_linf = "norm=" not in settings and not name.endswith(("_l1", "_l2"))
    return name in ("noise", "patch_control") or (in_linf and "eps=255" in settings.split(","))


def main_metric(group: Group) -> str:
    """Name the metric that stands for a group in headlines and diagrams."""
    return "robust_accuracy" if group == "attacks" else "accuracy"


def conditions(records: Iterable[Record], group: Group) -> tuple[str, ...]:
    """Give a group's conditions in the order of the records, each once."""
    wanted = main_metric(group)
    found = (r.condition for r in records if r.metric == wanted and group_of(r.condition) == group)
    return tuple(dict.fromkeys(found))


def find(document: Document, engine: str, condition: str, metric: str) -> Record | None:
    """Give the record of one engine under one condition, if it was measured."""
    for record in document.records:
        if (record.engine, record.condition, record.metric) == (engine, condition, metric):
            return None if math.isnan(record.value) else record
    return None


def group_records(document: Document, engine: str, group: Group) -> tuple[Record, ...]:
    """Give one engine's main records of a group, those without a number left out."""
    found = (find(document, engine, name, main_metric(group)) for name in conditions(document.records, group))
    return tuple(record for record in found if record is not None)


def find_latency(document: Document, engine: str, scope: str, metric: str) -> Latency | None:
    """Give one timed figure, if it was measured; percentiles belong to single stream, throughput to offline."""
    for entry in document.latency:
        if (entry.engine, entry.scope, entry.metric) == (engine, scope, metric) and not math.isnan(entry.value):
            return entry
    return None


def timed_scope(document: Document, engines: Iterable[str]) -> str | None:
    """Name the scope in which all engines have a median: the engine alone if possible."""
    names = tuple(engines)
    for scope in ("engine", "end-to-end"):
        if names and all(find_latency(document, name, scope, "p50_ms") for name in names):
            return scope
    return None


def pareto_conditions(document: Document) -> tuple[tuple[str, str], ...]:
    """Choose conditions and metrics for the diagrams of robustness against speed.

    The worst case over all attacks if it was measured, else the hardest attack; and the mean over all corruptions.
    Clean accuracy where there is neither.
    """
    measured = [record for record in document.records if not math.isnan(record.value)]
    attacked = [r for r in measured if r.metric == "robust_accuracy" and group_of(r.condition) == "attacks"]
    worst = [record for record in attacked if record.condition.startswith("worst-case")]
    chosen = [min(worst or attacked, key=lambda record: record.value)] if attacked else []
    wanted = (
        {(ALL_CORRUPTIONS, "mean_accuracy")} if chosen else {(ALL_CORRUPTIONS, "mean_accuracy"), ("clean", "accuracy")}
    )
    chosen += [record for record in measured if (record.condition, record.metric) in wanted]
    return tuple(dict.fromkeys((record.condition, record.metric) for record in chosen))
