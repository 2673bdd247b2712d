"""`doctor`: which backends work here and, for each that does not, why and how to install it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..core.provenance import provenance
from ..engines.backend import BackendStatus
from ..engines.catalog import doctor
from .options import Subparsers, add_common, print_json, table


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor", help="which backends work on this machine", description=__doc__
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    backends, machine = doctor(), provenance()
    if options.json:
        print_json({"backends": [backend.to_json() for backend in backends], "machine": machine})
        return 0
    rows = [[b.name, f"works, {b.version}" if b.works else "no", ", ".join(b.suffixes)] for b in backends]
    print(table(["backend", "here", "runs"], rows))
    for (reason, install), names in _missing(backends).items():
        print(f"\n{', '.join(names)}: {reason}\n  {install}")
    cpu = machine["cpu"]
    print(f"\ncpu: {cpu['model']}, {cpu['cores']} cores, {' '.join(cpu['features'])}")
    print(f"gpu: {', '.join(machine['gpus']) or 'none visible'}")
    for name, value in machine["environment"].items():
        print(f"set: {name}={value}, which chooses kernels or devices")
    return 0


def _missing(backends: Sequence[BackendStatus]) -> dict[tuple[str, str], list[str]]:
    """Give reason and install line to the backends that lack the same."""
    found: dict[tuple[str, str], list[str]] = {}
    for backend in backends:
        if not backend.works:
            found.setdefault((backend.reason, backend.install), []).append(backend.name)
    return found
