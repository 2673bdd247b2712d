"""`evaluate`: shows one or several engines clean, corrupted, re-preprocessed and attacked images, and reports."""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.errors import EngineError
from ..core.provenance import provenance
from ..core.record import Record
from ..core.store import Store
from ..engines.audit import Audit
from ..evaluate.attacks.catalog import needs_surrogate, parse_attack
from ..evaluate.conditions import Condition
from ..evaluate.corruptions.storage import Storage
from ..evaluate.examples import ExampleGallery
from ..evaluate.plan import Plan, Run, Surrogate
from ..evaluate.runner import run as run_plan
from ..evaluate.score_access import SCORE_ACCESS, ScoreAccess
from ..evaluate.suites import SUITES, corruption_condition, preset_condition, suite
from ..evaluate.summary import save_plan
from ..inputs.dataset import Dataset
from ..inputs.sources import open_dataset
from .isolation import Door, add_isolation, door
from .latency import report_figures, time_targets
from .noise_floor import noise_floor
from .options import Subparsers, add_common, add_corruption_options, add_data, positive, print_json, seconds, table
from .progress import Progress
from .report import compose, write
from .surrogate import open_surrogate, surrogate_agreement
from .targets import Opened, opened_targets, without_calibration

_PARTIAL = 3


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """What is to be measured.

    Attributes:
        targets: Model files; the first is the reference of every comparison.
        data: Folder or ``.npz`` with labelled images.
        labels: CSV of a flat folder, or None.
        conditions: What is done to the images.
        images: Number of images drawn from the data, or None for all.
        preset: Preprocessing, or None for what the cards declare.
        surrogates: Models for transfer attacks: none is the first target, several are an ensemble.
        score_access: What a query attack sees, or None for all that the engine puts out.
        storage: How corrupted images are kept before an engine sees them.
        frost_dir: Photographs for the corruption ``frost``, or None.
        seed: Seed of every random stream.
        threads: Threads of each engine.
        batch: Images in one call.
        latency_seconds: Time per target and scenario, 0 for none.
        door: How engines are let in.
        output: Run folder, or None for one named by its content.
        title: Heading of the report.
        command: The command line, for the report.
    """

    targets: Sequence[str]
    data: Path
    labels: Path | None = None
    conditions: Sequence[Condition] = ()
    images: int | None = None
    preset: str | None = None
    surrogates: Sequence[Path] = ()
    score_access: ScoreAccess | None = None
    storage: Storage = "raw"
    frost_dir: Path | None = None
    seed: int = 0
    threads: int | None = None
    batch: int = 32
    latency_seconds: float = 1.0
    door: Door = field(default_factory=Door)
    output: Path | None = None
    title: str = "Robustness of the deployed engine"
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What came of it.

    Attributes:
        folder: The run folder.
        report: The HTML report in it.
        document: The report as JSON data.
        records: Every measured number.
        failed: Cells that broke.
    """

    folder: Path
    report: Path
    document: dict[str, Any]
    records: Sequence[Record]
    failed: int


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
    parser.add_argument("--batch", type=positive, default=32, help="images in one call of the engine (default 32)")
    parser.add_argument("--latency", type=seconds, default=1.0, metavar="SECONDS", help="per figure; 0 measures none")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="run folder; an interrupted run goes on in it")
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
        output=options.output,
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
        print(records_table(done.records))
        print(f"\nreport: {done.report}")
    return _PARTIAL if done.failed else 0


def evaluate(request: EvaluateRequest, progress: Progress) -> Evaluated:
    """Measure, store as it goes, and write the report.

    Raises:
        InputError: If a target, the data or a setting cannot be used.
    """
    progress.stage(f"Opening {len(request.targets)} engines")
    with opened_targets(
        request.targets, preset=request.preset, threads=request.threads, batch=request.batch, door=request.door
    ) as targets:
        dataset, left_out = without_calibration(open_dataset(request.data, request.labels), targets)
        if left_out:
            progress.stage(f"{left_out} images were used for calibration and are left out")
        for opened in targets:
            _hint_at_diagnosis(opened, dataset, progress)
        # Always a seeded permutation: folders are sorted by class, and every chunk should hold all of them.
        dataset = dataset.subset(min(request.images or len(dataset), len(dataset)), request.seed)
        plan = Plan(
            conditions=request.conditions,
            seed=request.seed,
            score_access=request.score_access,
            storage=request.storage,
            frost_dir=request.frost_dir,
        )
        surrogate = _surrogate(request, targets, dataset)
        run = Run(plan=plan, targets=[t.target for t in targets], dataset=dataset, surrogate=surrogate)
        folder = request.output or _default_folder(run)
        with Store(folder / "results.sqlite") as store:
            save_plan(store, run)
            progress.stage(f"Measuring {len(run.conditions)} conditions on {len(dataset)} images")
            gallery = ExampleGallery(store, [condition.label for condition in run.conditions])
            run_plan(run, store, progress=progress, gallery=gallery)
            _save_setting(store, request, targets, run, progress)
            document, found, totals = compose(store)
    report = write(document, folder)
    progress.close()
    return Evaluated(folder=folder, report=report, document=document, records=found, failed=totals.failed)


def _hint_at_diagnosis(opened: Opened, dataset: Dataset, progress: Progress) -> None:
    """Say where one score more than the data has classes makes every answer wrong by one."""
    given, names = opened.target.engine.spec.classes, dataset.class_names
    if names and given == len(names) + 1:
        progress.stage(
            f"{opened.target.name} gives {given} scores for {len(names)} classes; `diagnose` tells whether the first "
            "is a background class"
        )


def records_table(records: Sequence[Record]) -> str:
    """Set the main records as a table: one line per engine, condition and metric."""
    rows = []
    for record in records:
        if record.metric in ("flips_right_to_wrong", "flips_wrong_to_right"):
            continue
        comparison = record.comparison
        against = "" if comparison is None else f"{comparison.difference:+.3f} {comparison.verdict}"
        interval = f"[{_number(record.low, record)}, {_number(record.high, record)}]"
        value = f"{_number(record.value, record)} {interval}"
        rows.append(
            [record.engine, record.condition, record.metric, value, str(record.n), against, " ".join(record.flags)]
        )
    return table(["engine", "condition", "metric", "value [95 %]", "n", "against the reference", "flags"], rows)


def command_line() -> str:
    """Give the command as the user could type it again."""
    return shlex.join(["robustmq-trt", *sys.argv[1:]])


def _number(value: float, record: Record) -> str:
    return f"{value:.3f}" if record.unit == "share" else f"{value:.1f}"


def _conditions(options: argparse.Namespace) -> list[Condition]:
    named = [
        *(corruption_condition(spec) for spec in options.corruption),
        *(preset_condition(name) for name in options.shift),
        *(parse_attack(spec) for spec in options.attack),
    ]
    if options.suite is None and named:
        return named
    return [*suite(options.suite or "quick"), *named]


def _surrogate(request: EvaluateRequest, targets: Sequence[Opened], dataset: Dataset) -> Surrogate | None:
    if not any(needs_surrogate(condition) for condition in request.conditions):
        return None
    return open_surrogate(request.surrogates, targets, dataset, threads=request.threads)


def _default_folder(run: Run) -> Path:
    """Name the run by what it measures, so that the same command goes on where it was interrupted."""
    digest = hashlib.sha256("".join(run.keys()).encode()).hexdigest()
    return Path("robustmq-runs") / digest[:12]


def _save_setting(
    store: Store, request: EvaluateRequest, targets: Sequence[Opened], run: Run, progress: Progress
) -> None:
    """Store what the report says beside the records: engines, audits, latency, data, machine."""
    audits = {}
    for opened in targets:
        progress.stage(f"Auditing {opened.target.name}")
        audits[opened.target.name] = _audited(opened).to_json()
    names = run.dataset.class_names
    setting = {
        "title": request.title,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": request.command,
        "targets": [
            opened.to_json(reference=index == 0, integer_coverage=audits[opened.target.name]["integer_coverage"])
            for index, opened in enumerate(targets)
        ],
        "dataset": {
            "name": request.data.name,
            "images": len(run.dataset),
            "classes": targets[0].target.engine.spec.classes,
            "manifest_sha256": run.dataset.manifest_sha256,
            "class_names": list(names) if names else None,
        },
        "audits": audits,
        "provenance": {
            **provenance(),
            "seed": run.plan.seed,
            "score access": {target.name: run.score_access(target) for target in run.targets},
            "preset": targets[0].target.pipeline.to_json(),
            "engines": {o.target.name: dict(o.target.engine.provenance()) for o in targets},
            "surrogate": surrogate_agreement(run.surrogate, targets, run.dataset),
            "self-test": {o.target.name: o.selftest.to_json() for o in targets},
            "noise floor": noise_floor(targets, run.dataset, threads=request.threads),
        },
    }
    store.put_document("setting", setting)
    if request.latency_seconds > 0:
        progress.stage("Timing the engines")
        try:
            timed = time_targets(targets, run.dataset, budget_seconds=request.latency_seconds, seed=request.seed)
        except EngineError as error:
            progress.stage(f"No latency was measured: {error}")
        else:
            store.put_document("latency", report_figures(timed))


def _audited(opened: Opened) -> Audit:
    """Audit an engine; one that dies over it costs its proof, not the report of what was measured."""
    try:
        return opened.target.engine.audit()
    except EngineError as error:
        return Audit(backend=str(opened.target.identity["kind"]), layers=(), notes=(f"unprovable: {error}",))
