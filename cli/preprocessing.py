"""`preprocessing`: what other decoders, resizes, presets and JPEG qualities than the model's own do to an engine."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..calib.catalog import METHODS, find_method
from ..core.errors import InputError
from ..core.precision import Precision
from ..core.provenance import package_versions
from ..core.record import Record
from ..evaluate.claims import Claim, corruption_claims, engine_claims, grid_shares, resize_claims, total_shares
from ..evaluate.decoded_sets import Way
from ..evaluate.metrics import Study
from ..evaluate.preset_mismatch import MismatchPlan, preset_mismatch
from ..evaluate.quality_sweep import QUALITIES, quality_records, quality_ways
from ..evaluate.scaling_leverage import resizer_leverages
from ..evaluate.served import Served, serve
from ..evaluate.summary import load_study
from ..evaluate.systematic import grid_ways, systematic_records
from ..export.onnx_file import read_model
from ..export.prepare import prepare
from ..export.signature import classifier_signature
from ..inputs.catalog import find_preset
from ..inputs.dataset import Dataset, check_labels
from ..inputs.pipeline import Pipeline
from ..inputs.sources import open_dataset
from .isolation import add_isolation, door
from .options import (
    PARTIAL,
    Subparsers,
    add_batch,
    add_common,
    add_data,
    add_prepared,
    figure,
    positive,
    prepared_sets,
    table,
)
from .output import add_output, finished_cells, put_out
from .progress import Progress
from .report import open_results
from .scaling import leverage_table, planted_records
from .targets import DEFAULT_PRESET, Opened, opened_targets, without_calibration

_DEFAULT_PRESETS = "torchvision,opencv-linear,opencv-nearest,opencv-area"


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand and its four experiments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "preprocessing", help="what other preprocessing than the model's own does to it", description=__doc__
    )
    studies = parser.add_subparsers(title="experiments", required=True, metavar="EXPERIMENT")
    grid = _on_targets(studies, "grid", "every decoder with every resize: RobustMQ's systematic noise", _grid)
    grid.add_argument("--corruptions", type=Path, metavar="RUN", help="an evaluated run, for the claims on corruptions")
    quality = _on_targets(studies, "quality", "images stored as JPEG once more", _quality)
    quality.add_argument(
        "--qualities", default=",".join(map(str, QUALITIES)), metavar="N,...", help="1 to 100 (default: eight)"
    )
    _add_mismatch(studies)
    _add_scaling(studies)


def _on_targets(
    studies: Subparsers, name: str, help_text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = studies.add_parser(name, help=help_text, description=help_text)
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="engines; the first is the reference")
    add_data(parser, required=True)
    add_batch(parser)
    add_prepared(parser)
    add_isolation(parser)
    add_output(parser)
    add_common(parser)
    parser.set_defaults(run=run, experiment=name)
    return parser


def _add_mismatch(studies: Subparsers) -> None:
    text = "calibrated under one preset, served under another, as a matrix"
    parser: argparse.ArgumentParser = studies.add_parser("mismatch", help=text, description=text)
    parser.add_argument("model", metavar="MODEL", help="float ONNX file")
    parser.add_argument("--calib", type=Path, required=True, metavar="PATH", help="images to calibrate with")
    parser.add_argument("--calib-size", type=positive, default=128, metavar="N", help="how many (default 128)")
    parser.add_argument("--presets", default=_DEFAULT_PRESETS, metavar="A,B", help=f"default: {_DEFAULT_PRESETS}")
    parser.add_argument("--method", default="minmax", help=f"of {', '.join(METHODS)} (default minmax)")
    parser.add_argument("--bits", type=int, default=8, help="bits of weights and activations (default 8)")
    add_data(parser, required=True)
    add_output(parser)
    add_common(parser)
    parser.set_defaults(run=_mismatch, experiment="mismatch")


def _add_scaling(studies: Subparsers) -> None:
    text = "large pictures that are resized to other ones: the leverage of each resizer, and the attack"
    parser: argparse.ArgumentParser = studies.add_parser("scaling", help=text, description=text)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="engines; with none, the leverage alone")
    parser.add_argument("--reductions", default="2,4,8", metavar="N,...", help="of the leverage (default 2,4,8)")
    parser.add_argument(
        "--factor", type=positive, default=6, metavar="N", help="reduction that is attacked (default 6)"
    )
    parser.add_argument("--pairs", type=positive, default=20, metavar="N", help="pairs of pictures (default 20)")
    parser.add_argument("--presets", default=_DEFAULT_PRESETS, metavar="A,B", help=f"default: {_DEFAULT_PRESETS}")
    add_data(parser, required=False)
    add_batch(parser)
    add_isolation(parser)
    add_output(parser)
    add_common(parser)
    parser.set_defaults(run=_scaling, experiment="scaling")


def _grid(options: argparse.Namespace) -> int:
    study = None if options.corruptions is None else _study(options.corruptions)
    with _opened(options) as (targets, dataset):
        names, ladder = [opened.target.name for opened in targets], _ladder(targets)
        natural = [] if study is None else _corruption_claims(study, ladder)  # refused before hours of serving
        served = _serve(options, grid_ways(targets[0].target.pipeline), targets, dataset)
    records = systematic_records(served, names, seed=options.seed)
    shares = grid_shares(served, names)
    claims = [claim for name in shares for claim in resize_claims(served, name, seed=options.seed)]
    claims += engine_claims("systematic noise", shares, reference=names[0], ladder=ladder, seed=options.seed)
    return _finish(options, records, served, claims + natural)


def _study(folder: Path) -> Study:
    with open_results(folder) as store:
        return load_study(store)


def _corruption_claims(study: Study, ladder: Sequence[str]) -> list[Claim]:
    shares = total_shares(study)
    claims = [claim for name in shares for claim in corruption_claims(study, name)]
    return claims + engine_claims("natural noise", shares, reference=study.engines[0], ladder=ladder, seed=study.seed)


def _ladder(targets: Sequence[Opened]) -> list[str]:
    """Give the engines whose precision is known to be an integer one, fewest bits first."""
    found = {}
    for opened in targets:
        with suppress(InputError):  # a foreign file has no card
            found[opened.target.name] = Precision.parse(opened.precision)
    quantized = {name: precision for name, precision in found.items() if precision.kernel == "integer"}
    return sorted(quantized, key=lambda name: (quantized[name].weights, quantized[name].activations))


def _quality(options: argparse.Namespace) -> int:
    qualities = _whole_numbers(options.qualities, 1, 100, "--qualities")
    with _opened(options) as (targets, dataset):
        served = _serve(options, quality_ways(targets[0].target.pipeline, qualities), targets, dataset)
        names = [opened.target.name for opened in targets]
    return _finish(options, quality_records(served, names, seed=options.seed), served)


def _mismatch(options: argparse.Namespace) -> int:
    progress = Progress(quiet=options.quiet)
    find_method(options.method)
    model = prepare(read_model(Path(options.model))).model
    signature = classifier_signature(model)
    own = replace(
        find_preset(options.preset or DEFAULT_PRESET).for_size(signature.height, signature.width),
        layout=signature.layout,
    )
    ways = _ways(options, own)
    pool = open_dataset(options.calib, unlabelled=True)
    calibration = pool.subset(min(options.calib_size, len(pool)), options.seed)
    used = {sample.sha256 for sample in calibration.samples}
    data = open_dataset(options.data, options.labels)
    rest = tuple(sample for sample in data.samples if sample.sha256 not in used)
    if not rest:
        raise InputError("Every image of --data is calibrated with. Pass fewer with --calib-size, or other images.")
    data = _drawn(options, replace(data, samples=rest))
    check_labels(data.samples, signature.classes)
    plan = MismatchPlan(
        method=options.method,
        precision=str(Precision.from_bits(options.bits)),
        seed=options.seed,
        threads=options.threads,
    )
    progress.stage(f"Calibrating {len(ways)} engines on {len(calibration)} images, serving {len(data)}")
    with finished_cells(options, progress) as finished:
        records = preset_mismatch(model, calibration, data, ways, plan, progress, finished)
    progress.close()
    if not options.json:
        print(_matrix(records, [way.name for way in ways]))
    return _finish(options, records)


def _scaling(options: argparse.Namespace) -> int:
    if bool(options.targets) != (options.data is not None):
        raise InputError("Expected engines and --data together, to attack them, or neither, for the leverage alone.")
    figures, reasons = resizer_leverages(_whole_numbers(options.reductions, 2, 64, "--reductions"))
    records: list[Record] = []
    if options.targets:
        with _opened(options) as (targets, dataset):
            own = targets[0].target.pipeline
            records = planted_records(targets, dataset, _ways(options, own), options)
    if not options.json:
        print(leverage_table(figures, reasons))
    return _finish(options, records, more={"leverage": [figure.to_json() for figure in figures], "missing": reasons})


def _ways(options: argparse.Namespace, own: Pipeline) -> list[Way]:
    names = dict.fromkeys(options.presets.split(","))
    return [Way(name=name, pipeline=own.with_geometry_of(find_preset(name))) for name in names]


@contextmanager
def _opened(options: argparse.Namespace) -> Iterator[tuple[list[Opened], Dataset]]:
    """Open the engines, and the images that none of them was calibrated with."""
    with opened_targets(
        options.targets, preset=options.preset, threads=options.threads, batch=options.batch, door=door(options)
    ) as targets:
        dataset, _ = without_calibration(open_dataset(options.data, options.labels), targets)
        dataset = _drawn(options, dataset)
        for opened in targets:
            check_labels(dataset.samples, opened.target.engine.spec.classes)
        yield targets, dataset


def _drawn(options: argparse.Namespace, dataset: Dataset) -> Dataset:
    return dataset.subset(min(options.images or len(dataset), len(dataset)), options.seed)


def _serve(options: argparse.Namespace, ways: Sequence[Way], targets: Sequence[Opened], dataset: Dataset) -> Served:
    progress = Progress(quiet=options.quiet)
    prepared = prepared_sets(options)
    progress.stage(f"Serving {len(dataset)} images in {len(ways)} ways")
    engines = [opened.target for opened in targets]
    with finished_cells(options, progress) as finished:
        served = serve(dataset, ways, engines, progress=progress, prepared=prepared, finished=finished)
    if prepared is not None:
        progress.stage(prepared.summary())
    progress.close()
    return served


def _whole_numbers(text: str, least: int, most: int, flag: str) -> list[int]:
    words = dict.fromkeys(text.split(","))
    for word in words:
        if not word.isdecimal() or not least <= int(word) <= most:
            raise InputError(
                f"Expected whole numbers in {least}..{most} for {flag}, got {word!r}. Separate them by commas."
            )
    return [int(word) for word in words]


def _finish(
    options: argparse.Namespace,
    records: Sequence[Record],
    served: Served | None = None,
    claims: Sequence[Claim] = (),
    more: Mapping[str, Any] | None = None,
) -> int:
    failures = () if served is None else served.failures
    document = {
        "command": f"preprocessing {options.experiment}",
        "seed": options.seed,
        "tools": package_versions(),
        "records": [record.to_json() for record in records],
        "claims": [claim.to_json() for claim in claims],
        "undecodable": [{"name": failure.sample.name, "reason": failure.reason} for failure in failures],
        **(more or {}),
    }
    put_out(options, document)
    if records and not options.json:
        print(_table(records, claims))
        print(*(f"left out: {failure.sample.name}: {failure.reason}\n" for failure in failures), sep="", end="")
    return PARTIAL if failures or any(not record.n for record in records) else 0


def _matrix(records: Sequence[Record], ways: Sequence[str]) -> str:
    """Set one row per engine and one column per served preset; ``*`` marks a significant difference."""
    cells = {(record.engine, record.condition): record for record in records if record.metric == "accuracy"}
    engines = list(dict.fromkeys(engine for engine, _ in cells))
    rows = [[engine, *(_cell(cells.get((engine, way))) for way in ways)] for engine in engines]
    title = "accuracy, and its difference from the engine calibrated as it is served (on the diagonal: from float)"
    return f"{title}\n{table(['', *(f'served {way}' for way in ways)], rows)}\n"


def _cell(record: Record | None) -> str:
    if record is None or not record.n:
        return "-"
    found = record.comparison
    if found is None:
        return f"{record.value:.3f}"
    return f"{record.value:.3f} {found.difference:+z.3f}{'' if found.verdict == 'not distinguishable' else '*'}"


def _table(records: Sequence[Record], claims: Sequence[Claim]) -> str:
    header = ["engine", "condition", "metric", "value [95 %]", "n", "compared", "notes"]
    lines = [table(header, [_row(record) for record in records])]
    lines += [f"{claim.answer}: {claim.text} ({claim.engine}, n {claim.n})" for claim in claims]
    return "\n".join(lines)


def _row(record: Record) -> list[str]:
    found = record.comparison
    compared = "" if found is None else f"{found.difference:+z.3f} {found.verdict} ({found.reference})"
    notes = [str(record.identity.get("cell", "")), *record.flags]
    return [
        record.engine,
        record.condition,
        record.metric,
        figure(record),
        str(record.n),
        compared,
        " ".join(note for note in notes if note),
    ]
