"""The sequence of an evaluation: open, measure, store as it goes, write the report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.errors import EngineError
from ..core.files import set_aside
from ..core.record import Record
from ..core.store import Store
from ..evaluate.attacks.catalog import is_learned, needs_surrogate
from ..evaluate.conditions import Condition
from ..evaluate.corruptions.storage import Storage
from ..evaluate.examples import ExampleGallery
from ..evaluate.plan import Plan, Run, Surrogate
from ..evaluate.prepared_sets import PreparedSets
from ..evaluate.runner import run as run_plan
from ..evaluate.score_access import ScoreAccess
from ..evaluate.summary import holds_another, save_plan
from ..inputs.dataset import Dataset
from ..inputs.sources import open_dataset
from .isolation import Door
from .progress import Progress
from .report import compose, write
from .setting import save_latency, save_setting
from .surrogate import open_surrogate
from .targets import Opened, opened_targets, without_calibration


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
        prepared: Where prepared images of earlier runs are looked for, and kept; None for nowhere.
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
    prepared: PreparedSets | None = None
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
        failed: Cells and timings that broke.
    """

    folder: Path
    report: Path
    document: dict[str, Any]
    records: Sequence[Record]
    failed: int


def evaluate(request: EvaluateRequest, progress: Progress) -> Evaluated:
    """Measure, store as it goes, and write the report.

    Raises:
        InputError: If a target, the data or a setting cannot be used.
    """
    progress.stage(f"Opening {', '.join(request.targets)}")
    with opened_targets(
        request.targets, preset=request.preset, threads=request.threads, batch=request.batch, door=request.door
    ) as targets:
        dataset, left_out = without_calibration(open_dataset(request.data, request.labels), targets)
        if left_out:
            progress.stage(f"{left_out} images were used for calibration and are left out")
        _hint_at_numbers(dataset, progress)
        for opened in targets:
            if isinstance(opened.selftest, EngineError):
                progress.stage(f"{opened.target.name} fails its self-test and is asked again: {opened.selftest}")
            _hint_at_diagnosis(opened, dataset, progress)
        # Always a seeded permutation: folders are sorted by class, and every chunk should hold all of them.
        everything = dataset
        dataset = everything.subset(min(request.images or len(dataset), len(dataset)), request.seed)
        plan = Plan(
            conditions=request.conditions,
            seed=request.seed,
            score_access=request.score_access,
            storage=request.storage,
            frost_dir=request.frost_dir,
        )
        surrogate = _surrogate(request, targets, dataset)
        run = Run(
            plan=plan,
            targets=[t.target for t in targets],
            dataset=dataset,
            surrogate=surrogate,
            others=_others(request, everything, dataset),
        )
        folder = request.output or _default_folder(run)
        with Store(folder / "results.sqlite") as store:
            if holds_another(store, run):
                _keep_report(folder, progress)
            save_plan(store, run)
            progress.stage(f"Measuring {len(run.conditions)} conditions on {len(dataset)} images")
            gallery = ExampleGallery(store, [condition.label for condition in run.conditions])
            run_plan(run, store, progress=progress, gallery=gallery, prepared=request.prepared)
            if request.prepared is not None:
                progress.stage(request.prepared.summary())
            about = {"title": request.title, "command": request.command, "data": request.data.name}
            save_setting(store, run, targets, about=about, threads=request.threads, progress=progress)
            if request.latency_seconds > 0:
                save_latency(store, run, targets, budget_seconds=request.latency_seconds, progress=progress)
            document, found, totals = compose(store)
    report = write(document, folder)
    progress.close()
    failed = totals.failed + sum(figure["verdict"] == "failed" for figure in document["latency"])
    return Evaluated(folder=folder, report=report, document=document, records=found, failed=failed)


def _keep_report(folder: Path, progress: Progress) -> None:
    """Rename the report of another run that used this folder before: its rows stay, its page cannot be made again."""
    for kept in set_aside(folder / "report.json", folder / "report.html"):
        progress.stage(f"'{folder}' holds another run, whose report is '{kept.name}' now")


def _hint_at_numbers(dataset: Dataset, progress: Progress) -> None:
    """Say where folders named by numbers are not the classes of these numbers: text sorts 0, 1, 10, 2."""
    names = dataset.class_names or ()
    other = next((index for index, name in enumerate(names) if name.isdecimal() and int(name) != index), None)
    if other is not None and all(name.isdecimal() for name in names):
        progress.stage(
            f"Folder '{names[other]}' is taken to be class {other}: folders count in the order of their text, as in "
            "torchvision. If the number is the class, give it in a CSV"
        )


def _hint_at_diagnosis(opened: Opened, dataset: Dataset, progress: Progress) -> None:
    """Say where data of fewer classes than the engine has may count them otherwise: a missing one shifts the rest."""
    given, names = opened.target.engine.spec.classes, dataset.class_names
    if not names or given <= len(names):
        return
    diagnosis = "`diagnose` tells whether the first is a background class; " if given == len(names) + 1 else ""
    progress.stage(
        f"{opened.target.name} gives {given} scores for {len(names)} classes; {diagnosis}class 0 is taken to be "
        f"'{names[0]}', class {len(names) - 1} '{names[-1]}'. If the data lack classes, give indices in a CSV"
    )


def _surrogate(request: EvaluateRequest, targets: Sequence[Opened], dataset: Dataset) -> Surrogate | None:
    if not any(needs_surrogate(condition) for condition in request.conditions):
        return None
    return open_surrogate(request.surrogates, targets, dataset, threads=request.threads)


def _others(request: EvaluateRequest, everything: Dataset, attacked: Dataset) -> Dataset | None:
    """Give the images that attacks may learn from: those not attacked, in the order of the seed.

    Neither is an image that calibrated a target, nor one of equal content under another name.
    """
    if not any(is_learned(condition.base) for condition in request.conditions):
        return None
    seen = {sample.sha256 for sample in attacked.samples}
    drawn = everything.subset(len(everything), request.seed)
    return replace(drawn, samples=tuple(sample for sample in drawn.samples if sample.sha256 not in seen))


def _default_folder(run: Run) -> Path:
    """Name the run by what it measures, so that the same command goes on where it was interrupted."""
    digest = hashlib.sha256("".join(run.keys()).encode()).hexdigest()
    return Path("robustmq-runs") / digest[:12]
