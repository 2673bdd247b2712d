"""`lint`: whether a QDQ file keeps the rules TensorRT states for explicit quantization; nothing is built."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..export.lint import lint
from ..export.onnx_file import read_model
from .options import Subparsers, add_common, print_json, table

_BROKEN = 1


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "lint", help="would this QDQ file build in TensorRT", description=__doc__
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="QDQ model.onnx")
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    found = lint(read_model(options.model))
    errors = sum(finding.severity == "error" for finding in found)
    if options.json:
        rows = [{"node": f.node, "rule": f.rule, "severity": f.severity, "message": f.message} for f in found]
        print_json({"model": str(options.model), "errors": errors, "findings": rows})
    else:
        if found:
            print(table(["severity", "rule", "node", "what"], [[f.severity, f.rule, f.node, f.message] for f in found]))
        print(f"{errors} errors, {len(found) - errors} warnings (rules as documented; nothing was built)")
    return _BROKEN if errors else 0
