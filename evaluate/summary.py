"""A run in the results file: its plan written down, and everything measured read back as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError
from ..core.files import canonical_json, sha256_json
from ..core.store import Store
from .conditions import CLEAN, Condition
from .examples import EXAMPLE_PREFIX
from .metrics import Study
from .plan import Run
from .results import Results

_PLAN = "plan"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """How much of the plan was measured, in cells (engine x condition).

    Attributes:
        cells: Cells of the plan.
        measured: Cells measured on every image.
        skipped: Cells that can't be measured here.
        failed: Cells that broke, wholly or in part.
        reasons: (cell, reason) of each that is not measured.
    """

    cells: int
    measured: int
    skipped: int
    failed: int
    reasons: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Give the totals as JSON data."""
        return {
            "cells": self.cells,
            "measured": self.measured,
            "skipped": self.skipped,
            "failed": self.failed,
            "reasons": [{"cell": cell, "reason": reason} for cell, reason in self.reasons],
        }


def holds_another(store: Store, run: Run) -> bool:
    """Tell whether the last run in the file measured something else than this one."""
    earlier = store.document(_PLAN)
    return earlier is not None and canonical_json(earlier) != canonical_json(_plan(run))


def save_plan(store: Store, run: Run) -> None:
    """Write down what the run measures, so that its results can be read without its engines.

    Rows stay for whoever asks for them again, but what another run in the same file said about itself is dropped: its
    audits, and with other engines or images its latency and its example images too.
    """
    if holds_another(store, run):
        store.drop_documents("setting")
        if not _same_subject(store.document(_PLAN) or {}, run):
            store.drop_documents("latency", EXAMPLE_PREFIX)
    store.put_document(_PLAN, _plan(run))


def _plan(run: Run) -> dict[str, Any]:
    return {
        "engines": [target.name for target in run.targets],
        "conditions": [
            {
                "kind": c.kind,
                "name": c.name,
                "settings": [list(s) for s in c.settings],
                "words": [list(w) for w in c.words],
                "unsupported": c.unsupported,
                "route": c.route,
            }
            for c in run.conditions
        ],
        "seed": run.plan.seed,
        "images": len(run.dataset),
        "classes": run.targets[0].engine.spec.classes,
        "keys": run.keys(),
    }


def _same_subject(earlier: Mapping[str, Any], run: Run) -> bool:
    """Tell whether an earlier plan showed the same images to the same engines: then it holds the same clean cells."""
    clean = {sha256_json(run.identity(target, CLEAN, chunk)) for chunk in run.chunks() for target in run.targets}
    names = [target.name for target in run.targets]
    return earlier["engines"] == names and earlier["images"] == len(run.dataset) and clean <= set(earlier["keys"])


def load_study(store: Store) -> Study:
    """Read a run's answers back.

    Raises:
        InputError: If the file holds no plan.
    """
    plan = store.document(_PLAN)
    if plan is None:
        raise InputError("This results file holds no run. Pass the folder that `evaluate` wrote.")
    conditions = [
        Condition(
            kind=c["kind"],
            name=c["name"],
            settings=tuple((key, value) for key, value in c["settings"]),
            words=tuple((key, word) for key, word in c.get("words", [])),
            unsupported=c["unsupported"],
            route=c.get("route", ""),
        )
        for c in plan["conditions"]
    ]
    results = Results.collect(store.tasks(plan["keys"]), images=plan["images"])
    return Study(
        results=results, engines=plan["engines"], conditions=conditions, seed=plan["seed"], classes=plan["classes"]
    )


def totals(study: Study) -> Totals:
    """Count the plan's cells by what came of them."""
    reasons = []
    failed = skipped = 0
    for engine in study.engines:
        for condition in study.conditions:
            reason = study.results.missing.get((engine, condition.label))
            if reason is None and study.cell(engine, condition.label) is None:
                reason = "failed: not reached"
            if reason is not None:
                skipped += reason.startswith("skipped")
                failed += not reason.startswith("skipped")
                reasons.append((f"{condition.label} on {engine}", reason.removeprefix("skipped: ")))
    cells = len(study.engines) * len(study.conditions)
    return Totals(
        cells=cells, measured=cells - skipped - failed, skipped=skipped, failed=failed, reasons=tuple(reasons)
    )


def undecodable(store: Store, study: Study) -> Sequence[tuple[str, str]]:
    """Give (name, reason) of the images that no engine could be asked about."""
    plan = store.document(_PLAN) or {"keys": []}
    found = {
        row.name: row.reason
        for task in store.tasks(plan["keys"])
        if task.condition == "clean" and task.engine == study.engines[0]
        for row in task.rows
        if not row.valid
    }
    return sorted(found.items())
