"""`transfer-matrix`: whom do examples made on one model fool, and what survives JPEG and other preprocessing?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.artifact import read_card
from ..core.errors import InputError, UnsupportedError
from ..core.files import sha256_file
from ..core.provenance import available_cores
from ..core.record import Record
from ..evaluate.attacks.catalog import parse_attack, transfer_entry
from ..evaluate.rates import any_failed
from ..evaluate.suites import preset_condition
from ..evaluate.transfer_matrix import Pictures, Source, transfer_matrix
from ..evaluate.twin.ensemble import Member, fused
from ..evaluate.twin.twin import Twin
from ..evaluate.verdict import all_routes
from ..export.onnx_file import read_model
from ..inputs.dataset import check_labels
from ..inputs.loader import load_images
from ..inputs.pipeline import Pipeline
from ..inputs.sources import open_dataset
from .isolation import add_isolation, door
from .options import PARTIAL, Subparsers, add_batch, add_common, add_data, figure, table
from .output import add_output, finished_cells, put_out
from .progress import Progress
from .targets import Opened, opened_targets, without_calibration

_TWIN_BATCH = 8
_DEFAULT_IMAGES = 200


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "transfer-matrix", help="attack every model's gradients, show the examples to every engine", description=__doc__
    )
    parser.add_argument(
        "targets", nargs="+", metavar="TARGET", help="engines; an ONNX file is a source of examples too"
    )
    add_data(parser, required=True)
    parser.add_argument("--attack", default="mifgsm", metavar="SPEC", help="a transfer attack (default mifgsm)")
    parser.add_argument(
        "--surrogate", type=Path, action="append", default=[], metavar="MODEL", help="a further source, no engine"
    )
    parser.add_argument("--ensemble", action="store_true", help="one more source: the mean logits of all surrogates")
    parser.add_argument("--survival", action="store_true", help="also show the examples re-encoded as JPEG 95, 90, 75")
    parser.add_argument(
        "--shift", action="append", default=[], metavar="PRESET", help="also serve them through a preset"
    )
    add_batch(parser)
    add_isolation(parser)
    add_output(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    condition = parse_attack(options.attack)
    transfer_entry(condition)
    for name in options.shift:
        preset_condition(name)
    progress = Progress(quiet=options.quiet)
    with opened_targets(
        options.targets, preset=options.preset, threads=options.threads, batch=options.batch, door=door(options)
    ) as targets:
        dataset, _ = without_calibration(open_dataset(options.data, options.labels), targets)
        dataset = dataset.subset(min(options.images or _DEFAULT_IMAGES, len(dataset)), options.seed)
        for opened in targets:
            check_labels(dataset.samples, opened.target.engine.spec.classes)
        loaded = load_images(dataset, targets[0].target.pipeline, threads=available_cores())
        broken = {failure.sample.name: failure.reason for failure in loaded.failures}
        samples = [sample for sample in dataset.samples if sample.name not in broken]
        pictures = Pictures.of(loaded.images, [s.label for s in samples], [s.sha256 for s in samples])
        progress.stage(f"Attacking {len(samples)} images with {condition.label}")
        routes = all_routes(options.shift, (95, 90, 75) if options.survival else ())
        with finished_cells(options, progress) as finished:
            found = transfer_matrix(
                sources(targets, options.surrogate, ensemble=options.ensemble, threads=options.threads),
                [opened.target for opened in targets],
                pictures,
                condition,
                routes=routes if options.survival or options.shift else (),
                seed=options.seed,
                finished=finished,
            )
    progress.close()
    undecodable = [{"name": name, "reason": reason} for name, reason in broken.items()]
    put_out(options, {"records": [record.to_json() for record in found], "undecodable": undecodable})
    if not options.json:
        print(_matrix(found), _table(found), sep="\n\n")
        print(*(f"left out: {name}: {reason}\n" for name, reason in broken.items()), sep="", end="")
    return PARTIAL if broken or any_failed(found) else 0


def sources(
    targets: Sequence[Opened], surrogates: Sequence[Path], *, ensemble: bool, threads: int | None
) -> list[Source]:
    """Open every target's own file, every surrogate, and the ensemble of the surrogates, as sources of gradients.

    Raises:
        InputError: If a surrogate is no model, or an ensemble is asked for of fewer than two.
    """
    reference = targets[0].target.pipeline
    found = [_own(opened, threads) for opened in targets]
    members = [(read_model(path), _pipeline(path, reference)) for path in surrogates]
    for path, member in zip(surrogates, members, strict=True):
        found.append(_source(path.stem, "surrogate", sha256_file(path), member, threads))
    if ensemble:
        name = "ensemble of " + " + ".join(path.stem for path in surrogates)
        joined = fused(members), members[0][1] if members else reference
        hashes = "+".join(sha256_file(path) for path in surrogates)
        found.append(_source(name, "ensemble", hashes, joined, threads))
    return found


def _own(opened: Opened, threads: int | None) -> Source:
    name, sha256 = opened.target.name, str(opened.target.identity["sha256"])
    if opened.path is None or opened.path.suffix != ".onnx":
        return Source(name=name, kind="twin", sha256=sha256, engine=name, missing="it is no ONNX file: no gradients")
    member = read_model(opened.path), opened.target.pipeline
    return replace(_source(name, "twin", sha256, member, threads), engine=name)


def _source(name: str, kind: str, sha256: str, member: Member, threads: int | None) -> Source:
    try:
        twin = Twin.open(*member, threads=threads, batch=_TWIN_BATCH)
    except (UnsupportedError, InputError) as error:
        return Source(name=name, kind=kind, sha256=sha256, missing=str(error))
    return Source(name=name, kind=kind, sha256=sha256, twin=twin)


def _pipeline(path: Path, reference: Pipeline) -> Pipeline:
    """Give what a surrogate's card declares, else the reference's, at the size of the images."""
    card = read_card(path)
    declared = Pipeline.from_mapping(card.preset) if card is not None and card.preset else reference
    return replace(declared, size=reference.size, layout="nchw", dtype="float32")


def _matrix(found: Sequence[Record]) -> str:
    """Set one row per source and one column per engine."""
    cells = {(str(r.identity["source"]), r.engine): r for r in found if r.metric == "transfer"}
    sources, engines = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    rows = [[source, *(_value(cells[source, engine]) for engine in engines)] for source in sources]
    title = "share fooled of the images that source and engine both get right"
    return f"{title}\n{table(['examples from', *engines], rows)}"


def _value(record: Record) -> str:
    return f"{record.value:.3f}" if record.n else "-"


def _table(found: Sequence[Record]) -> str:
    rows = [[r.condition, r.engine, r.metric, figure(r), str(r.n), " ".join(r.flags)] for r in found]
    return table(["examples", "shown to", "metric", "value [95 %]", "n", "flags"], rows)
