"""`-o FILE`: where the JSON document of a study goes. A path that cannot be written is refused before the work."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.files import replace_json
from .options import print_json
from .progress import Progress


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add ``--output``."""
    parser.add_argument(
        "-o",
        "--output",
        type=_writable,
        metavar="FILE",
        help="also write the JSON document here; another one that lies there is renamed",
    )


def put_out(options: argparse.Namespace, document: Mapping[str, Any]) -> None:
    """Write the document where ``--output`` says, tell what became of another one, and print it with ``--json``."""
    if options.output is not None:
        for kept in replace_json(options.output, document):
            Progress(quiet=options.quiet).stage(f"Another document lay in '{options.output}'; it is '{kept}' now")
    if options.json:
        print_json(document)


def _writable(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file, got the folder {text!r}")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"no file can be written in '{folder}'")
    return path
