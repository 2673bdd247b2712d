"""`-o`: where results go, a JSON document or a folder. A path that cannot be used is refused before the work."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.files import replace_json
from ..evaluate.finished_cells import FinishedCells
from .options import print_json
from .progress import Progress


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add ``--output``."""
    parser.add_argument(
        "-o",
        "--output",
        type=_writable,
        metavar="FILE",
        help="also write the JSON document here, another one there is renamed; finished cells are kept in the folder "
        "FILE.cells, so that the same command goes on where it was interrupted",
    )


@contextmanager
def finished_cells(options: argparse.Namespace, progress: Progress) -> Iterator[FinishedCells]:
    """Open the folder beside the document of ``--output``, and tell at the end what was found and kept there.

    Without ``--output`` nothing is found or kept.

    Raises:
        InputError: If a file lies there.
    """
    if options.output is None:
        yield FinishedCells()
        return
    beside = folder(options.output.with_name(f"{options.output.name}.cells"))
    finished = FinishedCells(beside, {"threads": options.threads})
    try:
        yield finished
    finally:
        progress.stage(finished.summary())


def put_out(options: argparse.Namespace, document: Mapping[str, Any]) -> None:
    """Write the document where ``--output`` says, tell what became of another one, and print it with ``--json``."""
    if options.output is not None:
        for kept in replace_json(options.output, document):
            Progress(quiet=options.quiet).stage(f"Another document lay in '{options.output}'; it is '{kept}' now")
    if options.json:
        print_json(document)


def folder(path: Path) -> Path:
    """Give the path of a folder back, there already or to be made.

    Raises:
        InputError: If a file lies there, or in place of a folder above.
    """
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        found = "a file lies there" if there == path else f"'{there}' is a file"
        raise InputError(f"Expected a folder at '{path}', but {found}. Name another folder, or move the file away.")
    return path


def _writable(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file, got the folder {text!r}")
    parent = next(place for place in path.absolute().parents if place.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"no file can be written in '{parent}'")
    return path
