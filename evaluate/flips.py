"""Which images two engines answer differently, by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..core.store import ImageRow, Store
from .metrics import Study


@dataclass(frozen=True, kw_only=True)
class Flips:
    """The images whose answer changed from one engine to another under one condition.

    Attributes:
        condition: Label of the condition.
        n: Images both engines were asked about.
        became_wrong: Names of the images that only the first engine gets right.
        became_right: Names of the images that only the second engine gets right.
        by_class: Label to (became wrong, became right), classes with a flip only.
    """

    condition: str
    n: int
    became_wrong: tuple[str, ...]
    became_right: tuple[str, ...]
    by_class: dict[int, tuple[int, int]]

    def to_json(self) -> dict[str, Any]:
        """Give the flips as JSON data."""
        return asdict(self)


def flips(store: Store, study: Study, reference: str, candidate: str) -> list[Flips]:
    """Give the flips of every condition that both engines were measured under, in the plan's order."""
    rows: dict[tuple[str, str], dict[int, ImageRow]] = {}
    plan = store.document("plan") or {"keys": []}
    for task in store.tasks(plan["keys"]):
        if task.engine in (reference, candidate):
            rows.setdefault((task.engine, task.condition), {}).update({row.position: row for row in task.rows})
    return [
        _flips(condition.label, rows[reference, condition.label], rows[candidate, condition.label])
        for condition in study.conditions
        if (reference, condition.label) in rows and (candidate, condition.label) in rows
    ]


def _flips(label: str, before: dict[int, ImageRow], after: dict[int, ImageRow]) -> Flips:
    pairs = [(before[p], after[p]) for p in sorted(before.keys() & after.keys()) if before[p].valid and after[p].valid]
    wrong = [b for b, a in pairs if b.correct and not a.correct]
    right = [b for b, a in pairs if a.correct and not b.correct]
    by_class: dict[int, tuple[int, int]] = {}
    for row in (*wrong, *right):
        lost, gained = by_class.get(row.label, (0, 0))
        by_class[row.label] = (lost + row.correct, gained + (not row.correct))
    return Flips(
        condition=label,
        n=len(pairs),
        became_wrong=tuple(row.name for row in wrong),
        became_right=tuple(row.name for row in right),
        by_class=dict(sorted(by_class.items())),
    )
