"""The image-scaling attack of `preprocessing scaling`: its pictures, and the table of what each resizer gives away."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from ..core.record import Record
from ..evaluate.decoded_sets import Way
from ..evaluate.scaling_attack import scaling_pairs, scaling_records
from ..evaluate.scaling_leverage import Leverage
from ..inputs.dataset import Dataset
from .options import table
from .output import finished_cells
from .progress import Progress
from .targets import Opened


def planted_records(
    targets: Sequence[Opened], dataset: Dataset, ways: Sequence[Way], options: argparse.Namespace
) -> list[Record]:
    """Make pictures of ``--factor`` times the resized size from ``--pairs`` pairs of images, and attack with them."""
    progress = Progress(quiet=options.quiet)
    own = targets[0].target.pipeline
    side = options.factor * max(int(length / own.crop_fraction) for length in own.size)
    few = dataset.subset(min(2 * options.pairs, len(dataset)), options.seed)
    pairs = scaling_pairs(few, own, side=side)
    progress.stage(f"Planting {len(pairs)} pictures of {side} x {side} pixels")
    with finished_cells(options, progress) as finished:
        records = scaling_records(
            [opened.target for opened in targets], pairs, ways, seed=options.seed, finished=finished
        )
    progress.close()
    return records


def leverage_table(figures: Sequence[Leverage], reasons: Mapping[str, str]) -> str:
    """Set the resizers' figures in rows; those that cannot run here follow with the reason."""
    rows = [
        [f.resizer, f"{f.factor}x", f"{f.used:.1%}", f"{f.energy_ratio:.3f}", f"{f.nonlinearity:.1f}"] for f in figures
    ]
    header = ["resizer", "reduction", "pixels used", "energy ratio", "departure, levels"]
    missing = [f"left out: {name}. {reason}" for name, reason in reasons.items()]
    return "\n".join([table(header, rows), *missing, ""])
