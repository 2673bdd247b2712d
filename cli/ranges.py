"""`ranges`: show a range table of any known format, compare two, merge several runs; look at single channels."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from ..calib.cache_formats import FoundRanges, read_ranges
from ..core.range_tables import RangeChange, diff, merge
from ..core.ranges import RangeTable
from .channels import add_action
from .options import Subparsers, print_json, table

_ROWS = 20


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "ranges", help="show, compare and merge tables of activation ranges", description=__doc__
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print a table of ours, ONNX Runtime's or TensorRT's")
    show.add_argument("file", type=Path, metavar="FILE")
    _finish(show, _show)
    compare = actions.add_parser("diff", help="what differs between two tables, the largest change first")
    compare.add_argument("files", type=Path, nargs=2, metavar="FILE")
    compare.add_argument("--all", action="store_true", help=f"print every tensor, not the first {_ROWS}")
    _finish(compare, _diff)
    union = actions.add_parser("merge", help="the union of what several runs over one model saw")
    union.add_argument("files", type=Path, nargs="+", metavar="FILE")
    union.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where the union goes")
    _finish(union, _merge)
    add_action(actions)


def _finish(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.set_defaults(run=run)


def _show(options: argparse.Namespace) -> int:
    found = read_ranges(options.file)
    if options.json:
        print_json(_document(found))
        return 0
    facts = found.table
    print(f"{found.format}: {facts.method}, {facts.images or 'unknown'} images, {len(facts.ranges)} tensors")
    if found.symmetric:
        print("note: the file keeps one magnitude a tensor; the ranges are its mirror images")
    print(
        table(["tensor", "low", "high"], [[name, f"{low:.6g}", f"{high:.6g}"] for name, (low, high) in _items(facts)])
    )
    return 0


def _items(facts: RangeTable) -> list[tuple[str, tuple[float, float]]]:
    return list(facts.ranges.items())


def _document(found: FoundRanges) -> dict[str, Any]:
    facts = found.table
    return {
        "format": found.format,
        "symmetric": found.symmetric,
        "method": facts.method,
        "images": facts.images,
        "model_sha256": facts.model_sha256,
        "data_sha256": facts.data_sha256,
        "preset": facts.preset,
        "ranges": {name: list(bounds) for name, bounds in _items(facts)},
    }


def _diff(options: argparse.Namespace) -> int:
    first, second = (read_ranges(path).table.ranges for path in options.files)
    changes = diff(first, second)
    if options.json:
        print_json({"tensors": [change.to_json() for change in changes]})
        return 0
    changed = [change for change in changes if change.change]
    print(f"{len(changed)} of {len(changes)} tensors differ")
    shown = changes if options.all else changed[:_ROWS]
    if shown:
        print(table(["tensor", "first", "second", "change", "overlap"], [_row(change) for change in shown]))
    if len(changed) > len(shown):
        print(f"... and {len(changed) - len(shown)} more; --all prints every one")
    return 0


def _row(change: RangeChange) -> list[str]:
    first, second = (
        "absent" if bounds is None else f"{bounds[0]:.5g} .. {bounds[1]:.5g}"
        for bounds in (change.first, change.second)
    )
    moved = f"{change.change:.1%}" if math.isfinite(change.change) else "-"
    return [change.tensor, first, second, moved, f"{change.overlap:.1%}"]


def _merge(options: argparse.Namespace) -> int:
    merged = merge([RangeTable.load(path) for path in options.files])
    merged.save(options.output)
    if options.json:
        print_json({"path": str(options.output), "method": merged.method, "images": merged.images})
    else:
        print(f"{options.output}: {merged.method} over {merged.images} images, {len(merged.ranges)} tensors")
    return 0
