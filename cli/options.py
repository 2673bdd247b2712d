"""Flags that several subcommands share, and how their words are read."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..core.errors import ThresholdError
from ..core.record import Record
from ..evaluate.corruptions.storage import STORAGES
from ..evaluate.prepared_sets import PreparedSets

PARTIAL = 3
"""Exit code of a run that something failed in; what was measured is kept."""

Subparsers = Any  # argparse gives its subparsers object no public name


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, ``--quiet``, ``--seed`` and ``--threads``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random stream (default 0)")
    parser.add_argument("--threads", type=positive, default=None, metavar="N", help="threads of the engine")


def add_batch(parser: argparse._ActionsContainer) -> None:
    """Add ``--batch``."""
    parser.add_argument("--batch", type=positive, default=32, help="images in one call of the engine (default 32)")


def add_data(parser: argparse._ActionsContainer, *, required: bool, preset: bool = True) -> None:
    """Add ``--data``, ``--labels``, ``--images`` and, where the command has none of its own, ``--preset``."""
    parser.add_argument(
        "--data", type=Path, required=required, metavar="PATH", help="ImageFolder, flat folder with --labels, or .npz"
    )
    parser.add_argument("--labels", type=Path, metavar="CSV", help="labels of a flat folder: columns file,label")
    parser.add_argument("--images", type=positive, metavar="N", help="use N images, drawn with the seed")
    if preset:
        parser.add_argument(
            "--preset", metavar="NAME|FILE.toml", help="preprocessing; default: what the model's card says"
        )


def add_corruption_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--storage`` and ``--frost-dir``."""
    parser.add_argument(
        "--storage",
        choices=STORAGES,
        default="raw",
        help="keep corrupted images as they are, or as the JPEGs of the downloadable ImageNet-C (default raw)",
    )
    parser.add_argument("--frost-dir", type=Path, metavar="DIR", help="photographs for the corruption 'frost'")


def add_prepared(parser: argparse._ActionsContainer) -> None:
    """Add ``--prepared`` and ``--prepared-gib``."""
    parser.add_argument(
        "--prepared",
        type=Path,
        metavar="DIR",
        help="keep decoded and corrupted images there, copies of the data, for the next engine (default: nowhere)",
    )
    parser.add_argument(
        "--prepared-gib", type=positive, default=4, metavar="N", help="most that they take; the oldest go (default 4)"
    )


def prepared_sets(options: argparse.Namespace) -> PreparedSets | None:
    """Open the folder that ``--prepared`` names, or give None.

    Raises:
        InputError: If it cannot be made.
    """
    return None if options.prepared is None else PreparedSets(options.prepared, cap_bytes=options.prepared_gib << 30)


def positive(text: str) -> int:
    """Read a whole number above zero."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return number


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return number


def seconds(text: str) -> float:
    """Read a duration in seconds, 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return number


def print_json(document: Any) -> None:
    """Print the one JSON document of a ``--json`` run."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def missed(sentence: str) -> int:
    """Say which bound a document that is printed already misses, and give the exit code for it."""
    sys.stdout.flush()
    print(f"robustmq-trt: {sentence}", file=sys.stderr)
    return ThresholdError.exit_code


def figure(record: Record, form: str = ".3f") -> str:
    """Word a record's value with its interval, or give a dash where nothing was measured."""
    if not record.n:
        return "-"
    return f"{record.value:{form}} [{record.low:{form}}, {record.high:{form}}]"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Set rows under a header in columns two spaces apart; numbers are right-aligned by the caller's choice of text."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [header, *rows]]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)
