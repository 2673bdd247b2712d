"""`calibration-study`: what the number, choice, preparation or poisoning of calibration images does to the engine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from ..calib.catalog import METHODS, find_method
from ..core.errors import InputError, UnsupportedError
from ..core.files import sha256_file
from ..core.precision import Precision
from ..core.provenance import available_cores, package_versions
from ..core.record import Record
from ..evaluate.attacks.catalog import parse_attack, transfer_entry
from ..evaluate.attacks.gradient import TransferTask
from ..evaluate.calibration_records import FLOAT, METRICS
from ..evaluate.calibration_sets import calibration_sets
from ..evaluate.calibration_study import Exam, StudyPlan, calibration_study
from ..evaluate.conditions import Condition
from ..evaluate.rates import any_failed
from ..evaluate.twin.twin import Twin
from ..export.onnx_file import read_model
from ..export.prepare import prepare
from ..export.signature import classifier_signature
from ..inputs.catalog import find_preset
from ..inputs.dataset import Dataset, check_labels
from ..inputs.loader import load_images
from ..inputs.pipeline import Pipeline
from ..inputs.sources import open_dataset
from .options import PARTIAL, Subparsers, add_common, figure, positive, table
from .output import add_output, finished_cells, put_out
from .progress import Progress

_DEFAULT_METHODS = "minmax,percentile,entropy,mse"


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "calibration-study", help="how much the choice of calibration images matters", description=__doc__
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="float ONNX file")
    parser.add_argument("--calib", type=Path, required=True, metavar="PATH", help="images to calibrate with")
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="labelled images to evaluate")
    parser.add_argument("--labels", type=Path, metavar="CSV", help="labels of a flat --data folder: columns file,label")
    parser.add_argument("--images", type=positive, default=400, metavar="N", help="evaluated images (default 400)")
    parser.add_argument("--calib-size", type=positive, default=128, metavar="N", help="the baseline's (default 128)")
    parser.add_argument(
        "--methods", default=_DEFAULT_METHODS, metavar="A,B", help=f"of {', '.join(METHODS)} (default: all)"
    )
    parser.add_argument("--attack", default="mifgsm:eps=1", help="transfer attack (default mifgsm:eps=1)")
    parser.add_argument("--surrogate", type=Path, metavar="FILE", help="model the attack is made on (default: MODEL)")
    parser.add_argument("--preset", default="torchvision", metavar="NAME|FILE.toml", help="preprocessing of the model")
    parser.add_argument("--bits", type=int, default=8, help="bits of weights and activations (default 8)")
    add_output(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    progress = Progress(quiet=options.quiet)
    plan = StudyPlan(
        methods=_methods(options.methods),
        precision=str(Precision.from_bits(options.bits)),
        seed=options.seed,
        threads=options.threads,
    )
    condition = parse_attack(options.attack)
    transfer_entry(condition)
    model, pipeline = _model(options)
    data, pool = _apart(options)
    twin = _twin(model, pipeline, options.threads)
    sets = calibration_sets(pool, pipeline, size=options.calib_size, seed=options.seed, twin=twin)
    progress.stage(f"Attacking {len(data)} images with {condition.label}")
    exam = _exam(options, condition, data, pipeline, twin)
    with finished_cells(options, progress) as finished:
        records = calibration_study(
            model, sets, exam, plan, lambda name: progress.stage(f"Calibrating with {name}"), finished
        )
    progress.close()
    put_out(options, _document(options, records, pool, exam))
    if not options.json:
        _print(records, plan.methods, exam, sets[0].name)
    return PARTIAL if any_failed(records) else 0


def _methods(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        find_method(name)
    if not names:
        raise InputError(f"Expected methods such as '{_DEFAULT_METHODS}', got {text!r}.")
    return list(dict.fromkeys(names))


def _model(options: argparse.Namespace) -> tuple[ModelProto, Pipeline]:
    model = prepare(read_model(options.model)).model
    signature = classifier_signature(model)
    preset = find_preset(options.preset).for_size(signature.height, signature.width)
    return model, replace(preset, layout=signature.layout)


def _apart(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """Give the evaluated images, and those of the calibration folder that are not among them."""
    data = open_dataset(options.data, labels=options.labels)
    data = data.subset(min(options.images, len(data)), options.seed)
    evaluated = {sample.sha256 for sample in data.samples}
    found = open_dataset(options.calib, unlabelled=True)
    kept = tuple(sample for sample in found.samples if sample.sha256 not in evaluated)
    if not kept:
        raise InputError("Every calibration image is evaluated too. Evaluate fewer with --images, or pass others.")
    return data, replace(found, samples=kept)


def _twin(model: ModelProto, pipeline: Pipeline, threads: int | None) -> Twin | None:
    try:
        return Twin.open(model, pipeline, threads=threads)
    except UnsupportedError:
        return None  # the study says so where the twin is missed


def _exam(
    options: argparse.Namespace, condition: Condition, data: Dataset, pipeline: Pipeline, twin: Twin | None
) -> Exam:
    source = twin if options.surrogate is None else Twin.open(options.surrogate, pipeline, threads=options.threads)
    if source is None:
        raise UnsupportedError("The model has an operator without a gradient rule. Pass --surrogate FILE.")
    loaded = load_images(data, pipeline, threads=available_cores())
    if not len(loaded.images):
        raise InputError(f"No image decodes; the first: {loaded.failures[0].reason}")
    check_labels(data.samples, source.classes)
    task = TransferTask(
        images=loaded.images, labels=loaded.labels, hashes=loaded.hashes, source=source, seed=options.seed
    )
    adversarials = transfer_entry(condition).craft(task, dict(condition.settings)).adversarials
    return Exam(images=loaded.images, adversarials=adversarials, labels=loaded.labels, attack=condition.label)


def _document(options: argparse.Namespace, records: Sequence[Record], pool: Dataset, exam: Exam) -> dict[str, Any]:
    return {
        "model": options.model.name,
        "model_sha256": sha256_file(options.model),
        "pool_images": len(pool),
        "images": len(exam.labels),
        "attack": exam.attack,
        "seed": options.seed,
        "tools": package_versions(),
        "records": [record.to_json() for record in records],
    }


def _print(records: Sequence[Record], methods: Sequence[str], exam: Exam, baseline: str) -> None:
    found = {(record.engine, record.metric): record for record in records}
    header = ["calibration set", "images", "ranges", "clean", "robust", "as float", "logit error"]
    print(f"{len(exam.labels)} images; robust: {exam.attack}; * differs from {baseline} (Holm, 5 %)")
    print(f"{FLOAT}: clean {_rate(found[FLOAT, 'accuracy'])}, robust {_rate(found[FLOAT, 'robust_accuracy'])}")
    sets = list(dict.fromkeys(str(record.identity["set"]) for record in records if record.n and record.engine != FLOAT))
    for method in methods:
        print(f"\n{method}")
        print(table(header, [_row(name, method, found) for name in sets if (f"{name}/{method}", METRICS[-1]) in found]))
    for note in dict.fromkeys(f"note: {record.engine}: {flag}" for record in records for flag in record.flags):
        print(note)


def _row(name: str, method: str, found: dict[tuple[str, str], Record]) -> list[str]:
    records = [found[f"{name}/{method}", metric] for metric in METRICS]
    facts = records[0].identity
    return [name, str(facts["images"]), f"x{facts['range_ratio']:.2f}", *(_rate(record) for record in records)]


def _rate(record: Record) -> str:
    text = figure(record, ".1%")
    if record.comparison is None:
        return text
    star = "" if record.comparison.verdict == "not distinguishable" else "*"
    return f"{text} {100 * record.comparison.difference:+z.1f}{star}"
