"""`report`: makes the page of a run again from its results file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.record import Record
from ..core.store import Store
from ..evaluate.conditions import CLEAN, Condition
from ..evaluate.curves import curves
from ..evaluate.examples import EXAMPLES, kept_example
from ..evaluate.metrics import Study, records
from ..evaluate.summary import Totals, load_study, totals, undecodable
from ..report.document import Document
from ..report.render import write_report
from .options import Subparsers, add_common, print_json

_SHOWN_EXAMPLES = 3
RESULTS = "results.sqlite"


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report", help="write a run's HTML report anew", description=__doc__
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder that `evaluate` wrote")
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    with open_results(options.folder) as store:
        document, _, _ = compose(store)
    path = write(document, options.folder)
    if options.json:
        print_json(document)
    else:
        print(path)
    return 0


def open_results(folder: Path) -> Store:
    """Open the results of a run folder.

    Raises:
        InputError: If the folder holds no results.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise InputError(f"'{folder}' holds no '{RESULTS}'. Pass the folder that `evaluate` wrote.")
    return Store(path)


def compose(store: Store) -> tuple[dict[str, Any], list[Record], Totals]:
    """Put everything stored of a run into the report's document.

    Raises:
        InputError: If the run was interrupted before anything was written down, or no image could be decoded.
    """
    study, setting = load_study(store), store.document("setting")
    if setting is None:
        raise InputError("The run was interrupted before its end. Run the same command again; it goes on from there.")
    found, counted = records(study), totals(study)
    failures = [{"name": name, "reason": reason} for name, reason in undecodable(store, study)]
    if len(failures) == setting["dataset"]["images"]:
        raise InputError(f"None of the {len(failures)} images can be decoded; the first: {failures[0]['reason']}")
    names = setting["dataset"]["class_names"]
    document = {
        "format": "robustmq-report/1",
        **{key: setting[key] for key in ("title", "created", "command", "targets", "provenance")},
        "dataset": {
            **{key: setting["dataset"][key] for key in ("name", "images", "classes", "manifest_sha256")},
            "failures": failures,
        },
        "records": [record.to_json() for record in found],
        "latency": store.document("latency") or [],
        "audits": [_audit(engine, audit) for engine, audit in setting["audits"].items()],
        "examples": _examples(store, study, names),
        "curves": [curve.to_json() for curve in curves(study)],
        "totals": counted.to_json(),
    }
    return document, found, counted


def write(document: Mapping[str, Any], folder: Path) -> Path:
    """Write ``report.html`` and ``report.json`` and give the page's path."""
    return write_report(Document.from_json(dict(document)), folder)


def _audit(engine: str, audit: Mapping[str, Any]) -> dict[str, Any]:
    return {"engine": engine, **{key: audit[key] for key in ("integer_coverage", "layers", "evidence", "notes")}}


def _examples(store: Store, study: Study, names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Choose images that every engine gets right when clean, the ones that an attack fooled first."""
    last = study.engines[-1]
    attacks = [c for c in study.attacks if study.cell(last, c.label) is not None]
    candidates = [p for p in range(EXAMPLES) if all(_right(study, engine, CLEAN, p) for engine in study.engines)]
    candidates.sort(key=lambda p: all(_right(study, last, attack, p) for attack in attacks))
    return [_example(store, study, position, names) for position in candidates[:_SHOWN_EXAMPLES]]


def _right(study: Study, engine: str, condition: Condition, position: int) -> bool:
    cell = study.cell(engine, condition.label)
    return cell is not None and position < len(cell.correct) and bool(cell.correct[position])


def _example(store: Store, study: Study, position: int, names: Sequence[str] | None) -> dict[str, Any]:
    shown = [CLEAN, *_one_corruption(study), *study.attacks]
    pictures = [
        picture for condition in shown if (picture := _picture(store, study, condition, position, names)) is not None
    ]
    name, label = _identity(store, position)
    return {"name": name, "label": _class(names, label), "images": pictures}


def _one_corruption(study: Study) -> list[Condition]:
    """Choose the corruption that costs the last engine most at severity 3, or at what was measured."""
    measured = [
        (int(np.sum(cell.correct)), condition)
        for condition in study.conditions
        if condition.kind == "corruption" and (cell := study.cell(study.engines[-1], condition.label)) is not None
    ]
    middle = [pair for pair in measured if pair[1]["severity"] == 3] or measured
    return [min(middle, key=lambda pair: pair[0])[1]] if middle else []


def _picture(
    store: Store, study: Study, condition: Condition, position: int, names: Sequence[str] | None
) -> dict[str, Any] | None:
    png = kept_example(store, condition.label, study.engines[-1], position)
    if png is None:
        return None
    kind = {"clean": "clean", "attack": "attacked"}.get(condition.kind, "corrupted")
    answers = []
    for engine in study.engines:
        cell = study.cell(engine, condition.label)
        # A query attack makes another image for every engine; only the shown one's answer belongs here.
        if cell is not None and kept_example(store, condition.label, engine, position) == png:
            answer = _class(names, int(cell.prediction[position]))
            answers.append({"engine": engine, "answer": answer, "correct": bool(cell.correct[position])})
    return {"kind": kind, "caption": condition.label, "png_base64": png, "answers": answers}


def _identity(store: Store, position: int) -> tuple[str, int]:
    plan = store.document("plan") or {"keys": []}
    for task in store.tasks(plan["keys"]):
        for row in task.rows:
            if row.position == position:
                return row.name, row.label
    return f"image {position}", -1


def _class(names: Sequence[str] | None, index: int) -> str:
    if index < 0:
        return "no valid answer"
    return names[index] if names and index < len(names) else f"class {index}"
