"""`audit`: proves layer by layer what an engine computes in integers."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.errors import ThresholdError
from ..engines.audit import Audit
from ..engines.catalog import open_engine, split_target
from ..export.onnx_file import read_model
from .options import Subparsers, add_common, print_json, share, table


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "audit", help="prove which layers run in integers", description=__doc__
    )
    parser.add_argument("target", metavar="TARGET", help="model.onnx")
    parser.add_argument("--require-integer", type=share, metavar="SHARE", help="exit 1 below this integer coverage")
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    file = Path(split_target(options.target).path)
    if file.suffix == ".onnx":
        read_model(file)  # refuses what must not reach a runtime
    engine = open_engine(options.target, threads=options.threads)
    try:
        audit = engine.audit()
    finally:
        engine.close()
    if options.json:
        print_json(audit.to_json())
    else:
        print(audit_table(audit))
    if options.require_integer is not None and audit.integer_coverage < options.require_integer:
        raise ThresholdError(
            f"Integer coverage is {audit.integer_coverage:.4f}, below the required {options.require_integer:.4f}. "
            "The table names the layers and the reasons."
        )
    return 0


def audit_table(audit: Audit) -> str:
    """Set the layers, the float operators and the totals as text."""
    layers = [
        [
            layer.name,
            layer.operator,
            layer.kernel or "?",
            "?" if layer.macs is None else f"{layer.macs:,}".rjust(13),
            layer.compute,
            "" if layer.share_of_time is None else f"{layer.share_of_time:.1%}".rjust(6),
            layer.reason,
        ]
        for layer in audit.layers
    ]
    parts = [table(["layer", "operator", "kernel", "MACs", "compute", "time", "why not integer"], layers)]
    if audit.float_operators:
        rows = [[o.operator, str(o.count), f"{o.share_of_time:.1%}"] for o in audit.float_operators]
        parts.append(table(["float operator", "nodes", "time"], rows))
    parts += [f"note: {note}" for note in audit.notes]
    parts.append(
        f"integer coverage {audit.integer_coverage:.2%} of {audit.macs:,} multiply-accumulates "
        f"({audit.backend}; evidence: {', '.join(audit.evidence)})"
    )
    return "\n\n".join(parts)
