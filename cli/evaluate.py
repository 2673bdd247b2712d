"""`evaluate`: shows one or several engines clean, corrupted, re-preprocessed and attacked images, and reports."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.record import Record
from ..evaluate.attacks.catalog import parse_attack
from ..evaluate.conditions import Condition
from ..evaluate.score_access import SCORE_ACCESS
from ..evaluate.suites import SUITES, corruption_condition, preset_condition, suite
from ..evaluate.verdict import all_routes, with_routes
from .evaluation import Evaluated, EvaluateRequest, evaluate
from .isolation import add_isolation, door
from .options import (
    PARTIAL,
    Subparsers,
    add_batch,
    add_common,
    add_corruption_options,
    add_data,
    add_prepared,
    figure,
    prepared_sets,
    print_json,
    seconds,
    table,
)
from .output import folder
from .progress import Progress

_SHOWN = 10  # images that do not decode


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate", help="measure accuracy and robustness of engines", description=__doc__
    )
    parser.add_argument(
        "targets", nargs="+", metavar="TARGET", help="model.onnx, float or QDQ; the first is the reference"
    )
    add_data(parser, required=True)
    parser.add_argument("--suite", choices=SUITES, help="named set of conditions (default quick)")
    parser.add_argument("--attack", action="append", default=[], metavar="SPEC", help="e.g. square:eps=8,queries=1000")
    parser.add_argument("--corruption", action="append", default=[], metavar="SPEC", help="e.g. motion_blur:3")
    add_corruption_options(parser)
    parser.add_argument("--shift", action="append", default=[], metavar="PRESET", help="serve through another preset")
    parser.add_argument(
        "--surrogate",
        type=Path,
        action="append",
        default=[],
        metavar="MODEL",
        help="model to take gradients from, float or QDQ (default: the first target); several are an ensemble",
    )
    parser.add_argument(
        "--score-access", choices=SCORE_ACCESS, help="what a query attack sees (default: the raw output)"
    )
    parser.add_argument(
        "--survival",
        nargs="*",
        metavar="PRESET",
        help="also show each attack's images losslessly, as JPEG 95, 90, 75 and through presets; clean ones beside",
    )
    add_batch(parser)
    parser.add_argument("--latency", type=seconds, default=1.0, metavar="SECONDS", help="per figure; 0 measures none")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="run folder; an interrupted run goes on in it")
    add_prepared(parser)
    add_isolation(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    request = EvaluateRequest(
        targets=options.targets,
        data=options.data,
        labels=options.labels,
        conditions=_conditions(options),
        images=options.images,
        preset=options.preset,
        surrogates=options.surrogate,
        score_access=options.score_access,
        storage=options.storage,
        frost_dir=options.frost_dir,
        seed=options.seed,
        threads=options.threads,
        batch=options.batch,
        latency_seconds=options.latency,
        door=door(options),
        prepared=prepared_sets(options),
        output=None if options.output is None else folder(options.output),
        command=command_line(),
    )
    done = evaluate(request, Progress(quiet=options.quiet))
    if options.json:
        print_json(
            {
                "run": str(done.folder),
                "report": str(done.report),
                "records": [record.to_json() for record in done.records],
                "latency": done.document["latency"],
                "totals": done.document["totals"],
            }
        )
    else:
        print(outcome(done))
    return PARTIAL if done.failed else 0


def outcome(done: Evaluated) -> str:
    """Say what came of a run: the main records, what was not measured and why, and where the report lies."""
    cells: dict[str, list[str]] = {}
    for missing in done.document["totals"]["reasons"]:
        cells.setdefault(missing["reason"], []).append(missing["cell"])
    for timing in done.document["latency"]:
        if timing["verdict"] == "failed":
            cell = f"latency, {timing['scenario']}, {timing['scope']} on {timing['engine']}"
            cells.setdefault(timing["reason"], []).append(cell)
    failures = done.document["dataset"]["failures"]
    notes = [f"not measured: {', '.join(names)}: {reason}" for reason, names in cells.items()]
    notes += [f"left out: {failure['name']}: {failure['reason']}" for failure in failures[:_SHOWN]]
    if len(failures) > _SHOWN:
        notes.append(f"left out: {len(failures) - _SHOWN} more images, see the report")
    return "\n".join([_records_table(done.records), "", *notes, f"report: {done.report}"])


def _records_table(records: Sequence[Record]) -> str:
    """Set the main records as a table: one line per engine, condition and metric."""
    rows = []
    for record in records:
        if record.metric in ("flips_right_to_wrong", "flips_wrong_to_right"):
            continue
        comparison = record.comparison
        against = "" if comparison is None else f"{comparison.difference:+z.3f} {comparison.verdict}"
        value = figure(record, ".3f" if record.unit == "share" else ".1f")
        rows.append(
            [record.engine, record.condition, record.metric, value, str(record.n), against, " ".join(record.flags)]
        )
    return table(["engine", "condition", "metric", "value [95 %]", "n", "against the reference", "flags"], rows)


def command_line() -> str:
    """Give the command as the user could type it again."""
    return shlex.join(["robustmq-trt", *sys.argv[1:]])


def _conditions(options: argparse.Namespace) -> list[Condition]:
    named = [
        *(corruption_condition(spec) for spec in options.corruption),
        *(preset_condition(name) for name in options.shift),
        *(parse_attack(spec) for spec in options.attack),
    ]
    chosen = named if options.suite is None and named else [*suite(options.suite or "quick"), *named]
    return chosen if options.survival is None else with_routes(chosen, all_routes(options.survival))
