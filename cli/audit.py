"""`audit`: proves layer by layer what an engine computes in integers."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..engines.audit import Audit
from ..engines.behaviour import Behaviour, observe
from ..engines.catalog import SIMULATION
from ..engines.protocol import Engine
from .isolation import Door, add_isolation, door
from .manifest import with_manifest
from .options import Subparsers, add_common, missed, print_json, share, table
from .targets import target_file

_NOISE_IMAGES = 128


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "audit", help="prove which layers run in integers", description=__doc__
    )
    parser.add_argument("target", metavar="TARGET", help="model.onnx")
    parser.add_argument(
        "--simulation",
        metavar="FILE.onnx",
        help="QDQ file the engine was made from: compare answers with its simulation",
    )
    parser.add_argument("--require-integer", type=share, metavar="SHARE", help="exit 1 below this integer coverage")
    add_isolation(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    target = with_manifest(options.target).target  # an audit asks no question that a manifest answers
    entrance = door(options)
    entrance.check(target_file(target))
    engine = entrance.open(target, threads=options.threads)
    try:
        audit = engine.audit()
        behaviour = _behaviour(engine, audit, options.simulation, entrance)
    finally:
        engine.close()
    audit = replace(audit, notes=(*audit.notes, *(behaviour.sentences() if behaviour else ())))
    if options.json:
        print_json({**audit.to_json(), "behaviour": behaviour.to_json() if behaviour else None})
    else:
        print(audit_table(audit))
    if options.require_integer is not None and audit.integer_coverage < options.require_integer:
        found = f"{audit.integer_coverage:.4f}" if audit.provable else "unprovable"
        return missed(
            f"Integer coverage is {found}, below the required {options.require_integer:.4f}. "
            "The table names the layers and the reasons."
        )
    return 0


def _behaviour(engine: Engine, audit: Audit, simulation: str | None, entrance: Door) -> Behaviour | None:
    """Look at the engine from outside where its kernels leave something open, or a simulation was given."""
    if simulation is None and audit.provable and all(layer.compute != "unknown" for layer in audit.layers):
        return None
    spec = engine.spec
    noise = np.random.default_rng(0).integers(0, 256, (_NOISE_IMAGES, *spec.image_shape))
    batch = (noise if spec.dtype == "uint8" else noise / 127.5 - 1).astype(spec.dtype)
    if simulation is None:
        return observe(engine, batch)
    entrance.check(Path(simulation))
    other = entrance.open(f"{SIMULATION}:{simulation}", threads=None)
    try:
        if other.spec.image_shape != spec.image_shape or other.spec.classes != spec.classes:
            raise InputError(
                f"'{simulation}' takes other images or gives other classes than the engine. Pass its source."
            )
        return observe(engine, batch, other)
    finally:
        other.close()


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
    if not audit.provable:
        return "\n\n".join([*parts, f"integer coverage unprovable ({audit.backend})"])
    parts.append(
        f"integer coverage {audit.integer_coverage:.2%} of {audit.macs:,} multiply-accumulates "
        f"({audit.backend}; evidence: {', '.join(audit.evidence)})"
    )
    return "\n\n".join(parts)
