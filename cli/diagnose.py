"""`diagnose`: finds from a few labelled images how an engine wants its input and what its scores are."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.manifest import SUFFIX
from ..evaluate.diagnosis import Diagnosis, diagnose
from ..inputs.catalog import find_preset
from ..inputs.loader import load_images
from ..inputs.sources import open_dataset
from .isolation import add_isolation, door
from .manifest import with_manifest
from .options import Subparsers, add_common, add_data, missed, print_json, table
from .progress import Progress
from .targets import DEFAULT_PRESET, target_file

_IMAGES = 64
_BATCH_THREADS = 1


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "diagnose", help="find an undocumented engine's input and output", description=__doc__
    )
    parser.add_argument("target", metavar="TARGET", help="model.tflite, model.onnx, a server's URL, ...")
    add_data(parser, required=True)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help=f"write the manifest; MODEL{SUFFIX} is found by itself"
    )
    add_isolation(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    progress = Progress(quiet=options.quiet)
    target = with_manifest(options.target).target  # what is known already is not asked
    entrance = door(options)
    entrance.check(target_file(target))
    dataset = open_dataset(options.data, options.labels)
    count = min(options.images or _IMAGES, len(dataset))
    engine = entrance.open(target, threads=options.threads)
    try:
        pipeline = find_preset(options.preset or DEFAULT_PRESET).for_size(engine.spec.height, engine.spec.width)
        progress.stage(f"Showing {count} images to the engine in every usual way")
        loaded = load_images(dataset.subset(count, options.seed), pipeline, threads=_BATCH_THREADS)
        names = dataset.class_names
        found = diagnose(engine, pipeline, loaded.images, loaded.labels, classes=None if names is None else len(names))
    finally:
        engine.close()
    progress.close()
    _print(found, as_json=options.json)
    if not found.found:
        return missed(
            "No usual contract lets the engine do better than chance. Check --preset (decoder, resize, crop) and that "
            "the labels count from 0 in the engine's order of classes. No manifest was written."
        )
    if options.output is not None:
        found.manifest.save(options.output)
        progress.stage(f"Manifest: {options.output}")
    return 0


def diagnosis_table(found: Diagnosis) -> str:
    """Set the evidence and the proposal as text."""
    rows = [
        [
            row.question,
            row.answer,
            f"{row.accuracy.value:.3f} [{row.accuracy.low:.3f}, {row.accuracy.high:.3f}]",
            f"{row.log_likelihood:.3f}",
            "" if row.verdict == "chosen" else f"{row.p_value:.4f}",
            row.verdict,
        ]
        for row in found.evidence
    ]
    header = ["question", "answer", f"accuracy [95 %], n {found.images}", "log-likelihood", "p (Holm)", "verdict"]
    parts = [table(header, rows), f"layout  {found.layout}\nscores  {found.scores}"]
    if found.found:
        parts.append(f"# proposed manifest\n{found.manifest.to_toml()}".rstrip())
    return "\n\n".join(parts)


def _print(found: Diagnosis, *, as_json: bool) -> None:
    if as_json:
        print_json(found.to_json())
    else:
        print(diagnosis_table(found))
