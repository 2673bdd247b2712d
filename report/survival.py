"""The section on routes: what is left of an attack once its images were re-encoded or preprocessed otherwise."""

from __future__ import annotations

from ..core.record import Record
from . import format as wording
from .lookup import ROUTES, group_of
from .markup import Markup, text
from .parts import Column, View, absent, bounded, paragraph, record_flags, section, table

_METRICS = {
    "clean_accuracy": "Clean, same route",
    "robust_accuracy": "Robust accuracy",
    "attack_success": "Attack success",
    "survival": "Survival",
}
_NOTE = (
    "The clean column is the control: the same images without the attack, on the same route. Survival counts the "
    "images that fooled the engine as delivered and still do."
)


def survival(shown: View) -> Markup:
    """Set each attack's figures route by route, the clean control beside them."""
    title = "What survives re-encoding"
    records = [r for r in shown.document.records if group_of(r.condition) == ROUTES and r.metric in _METRICS]
    if not records:
        return section("survival", title, absent("Not measured: `evaluate --survival` adds it."))
    columns = [Column(title="Engine"), Column(title="Route")]
    columns += [Column(title=name, numeric=True) for name in _METRICS.values()]
    groups = []
    for attack in dict.fromkeys(_attack(record) for record in records):
        here = [record for record in records if _attack(record) == attack]
        places = dict.fromkeys((record.engine, record.condition) for record in here)
        groups.append((wording.condition_title(attack), [_row(shown, here, *place) for place in places]))
    return section("survival", title, paragraph(_NOTE, "note"), table(title, columns, groups), record_flags(records))


def _attack(record: Record) -> str:
    return record.condition.partition(" via ")[0]


def _row(shown: View, records: list[Record], engine: str, condition: str) -> list[Markup]:
    own = {r.metric: r for r in records if (r.engine, r.condition) == (engine, condition)}
    figures = (_figure(own.get(metric)) for metric in _METRICS)
    return [shown.engine(engine), text(wording.route(condition.partition(" via ")[2])), *figures]


def _figure(record: Record | None) -> Markup:
    if record is None:
        return text(wording.NONE)
    bounds = f"{wording.interval(record.low, record.high, record.unit)}, n = {record.n}"
    flagged = bool(record.flags) and record.metric != "clean_accuracy"
    return bounded(wording.percent(record.value), bounds, flagged=flagged)
