"""`diff`: what changed for whom between two engines of a run, per condition and per class."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..core.errors import InputError, unknown
from ..evaluate.flips import Flips, flips
from ..evaluate.summary import load_study
from .options import Subparsers, add_common, print_json, table
from .report import open_results


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "diff", help="images that flipped between two engines of a run", description=__doc__
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder that `evaluate` wrote")
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help="two engines; default: the first and the last")
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    with open_results(options.folder) as store:
        study = load_study(store)
        names = options.engines or [study.engines[0], study.engines[-1]]
        if len(names) != 2:
            raise InputError(
                f"Expected two engines to compare, got {len(names)}. Name two of: {', '.join(study.engines)}."
            )
        for name in names:
            if name not in study.engines:
                raise unknown("engine", name, study.engines)
        found = flips(store, study, names[0], names[-1])
    if options.json:
        print_json({"reference": names[0], "candidate": names[-1], "conditions": [entry.to_json() for entry in found]})
    else:
        print(table(["condition", "right to wrong", "wrong to right", "n", "images that became wrong"], _rows(found)))
    return 0


def _rows(found: list[Flips]) -> list[list[Any]]:
    rows = []
    for entry in found:
        lost = ", ".join(entry.became_wrong[:3]) + (" ..." if len(entry.became_wrong) > 3 else "")
        rows.append([entry.condition, str(len(entry.became_wrong)), str(len(entry.became_right)), str(entry.n), lost])
    return rows
