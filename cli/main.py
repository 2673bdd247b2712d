"""The command ``robustmq-trt``: finds the subcommand, runs it, turns errors into sentences and exit codes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..core.errors import RobustMQError
from . import (
    audit,
    build,
    calibration_study,
    corrupt,
    demo,
    diagnose,
    diff,
    doctor,
    evaluate,
    latency,
    lint,
    listing,
    plan,
    preprocessing,
    ranges,
    report,
    transfer_matrix,
)

_COMMANDS = (
    demo,
    build,
    plan,
    calibration_study,
    audit,
    lint,
    evaluate,
    corrupt,
    diagnose,
    transfer_matrix,
    preprocessing,
    latency,
    diff,
    report,
    ranges,
    listing,
    doctor,
)
_INTERRUPTED = 130
_EPILOG = (
    "exit codes: 0 ok, 1 threshold failed, 2 usage or bad input, 3 partial run, 4 refused for security, 130 interrupted"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit code.

    Args:
        argv: The arguments after the program's name; those of the process if None.

    Returns:
        0 ok, 1 threshold failed, 2 usage or bad input, 3 partial run, 4 refused for security, 130 interrupted.
    """
    options = _parser().parse_args(argv)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except RobustMQError as error:
        _report(error, as_json=getattr(options, "json", False))
        return error.exit_code
    except KeyboardInterrupt:
        print("\nInterrupted. What was stored is kept; the same command goes on from there.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`): that is no failure, and Python must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="robustmq-trt",
        description="Measure how robust a deployed, quantized vision model really is.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"robustmq-trt {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def _report(error: RobustMQError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": str(error), "kind": type(error).__name__, "exit_code": error.exit_code}))
    print(f"robustmq-trt: {error}", file=sys.stderr)
