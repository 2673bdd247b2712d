"""Flags for engines that are not trusted: a process of their own with a deadline, and native code by its hash."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..engines.catalog import open_engine
from ..engines.child import Isolation
from ..engines.protocol import Engine
from ..export.onnx_file import read_model
from .options import seconds

_CALL_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Door:
    """How engines are let in.

    Attributes:
        isolate: Limits of a child process for every engine, or None where only native code gets one.
        trust: Hashes of native-code files that may be opened.
        custom_ops: Libraries of custom operators for ONNX Runtime.
    """

    isolate: Isolation | None = None
    trust: Sequence[str] = ()
    custom_ops: Sequence[Path] = ()

    def check(self, file: Path | None) -> None:
        """Refuse an ONNX file that must not reach a runtime; other files and servers, which are None, pass.

        Raises:
            InputError: If it is no valid ONNX.
            UnsupportedError: If it uses custom operators, and there is no library of them.
            RefusedError: If its external data lies outside its folder.
        """
        if file is not None and file.suffix == ".onnx":
            read_model(file, custom_ops=bool(self.custom_ops))

    def open(self, target: str, *, threads: int | None) -> Engine:
        """Open a target as `open_engine` does."""
        return open_engine(target, threads=threads, isolate=self.isolate, trust=self.trust, custom_ops=self.custom_ops)


def add_isolation(parser: argparse.ArgumentParser) -> None:
    """Add ``--isolate``, ``--deadline``, ``--custom-ops`` and ``--trust-engine``."""
    group = parser.add_argument_group("engines that are not trusted")
    group.add_argument(
        "--isolate", action="store_true", help="run every engine in a process of its own; its crash fails one cell only"
    )
    group.add_argument(
        "--deadline",
        type=seconds,
        metavar="SECONDS",
        help=f"time a batch may take in such a process, or at a server (default {_CALL_SECONDS:g}); implies --isolate",
    )
    group.add_argument(
        "--trust-engine",
        action="append",
        default=[],
        metavar="sha256:HEX",
        help="open this .plan or .engine file or operator library, which is native code, in such a process",
    )
    group.add_argument(
        "--custom-ops",
        type=Path,
        action="append",
        default=[],
        metavar="LIBRARY",
        help="library of the custom operators in ONNX files; native code: its hash goes to --trust-engine",
    )


def door(options: argparse.Namespace) -> Door:
    """Read the flags of `add_isolation`."""
    apart = options.isolate or options.deadline is not None
    limits = Isolation(call_seconds=options.deadline or _CALL_SECONDS) if apart else None
    return Door(isolate=limits, trust=tuple(options.trust_engine), custom_ops=tuple(options.custom_ops))
