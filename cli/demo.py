"""`demo`: the whole walk on an embedded model and its images: build, audit, attack, corrupt, time, report."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import assets
from ..evaluate.attacks.catalog import parse_attack
from ..evaluate.conditions import Condition
from ..evaluate.suites import corruption_condition, preset_condition
from .assembly import build
from .evaluate import command_line, outcome
from .evaluation import EvaluateRequest, evaluate
from .options import PARTIAL, Subparsers, add_common, print_json
from .output import folder
from .progress import Progress
from .request import BuildRequest

_CORRUPTIONS = ("gaussian_noise", "motion_blur", "brightness", "jpeg")
_SEVERITIES = (1, 3, 5)
_PRESETS = ("torchvision", "opencv-linear", "opencv-nearest", "opencv-area")
_ATTACKS = ("mifgsm:eps=2", "square:eps=2,queries=200")
_TITLES = {"cnn": "classifier", "vit": "vision transformer"}


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo", help="the whole walk on the embedded model, offline", description=__doc__
    )
    parser.add_argument("--model", choices=assets.MODELS, default="cnn", help="embedded model (default: cnn)")
    parser.add_argument("-o", "--output", type=Path, default=Path("robustmq-demo"), metavar="DIR")
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    progress = Progress(quiet=options.quiet)
    engines, results = folder(options.output), folder(options.output / "run")
    built = build(
        BuildRequest(
            model=None if options.model == "cnn" else str(assets.model_path(options.model)),
            calib=assets.images_dir("calib"),
            output=engines,
            method="entropy",
            seed=options.seed,
            threads=options.threads,
        ),
        progress,
    )
    done = evaluate(
        EvaluateRequest(
            targets=[str(built.reference), str(built.path)],
            data=assets.images_dir("eval"),
            conditions=demo_conditions(),
            seed=options.seed,
            threads=options.threads,
            latency_seconds=0.5,
            output=results,
            title=f"Demo: the embedded {_TITLES[options.model]}, float and INT8",
            command=command_line(),
        ),
        progress,
    )
    if options.json:
        print_json(
            {"build": built.to_json(), "run": str(done.folder), "report": str(done.report), "document": done.document}
        )
    else:
        print(outcome(done))
    return PARTIAL if done.failed else 0


def demo_conditions() -> list[Condition]:
    """Give the demo's conditions: 4 corruptions at 3 severities, 4 presets, a transfer and a query attack."""
    return [
        *(corruption_condition(f"{name}:{severity}") for name in _CORRUPTIONS for severity in _SEVERITIES),
        *(preset_condition(name) for name in _PRESETS),
        *(parse_attack(spec) for spec in _ATTACKS),
    ]
