"""The command ``robustmq-trt``: finds the subcommand, runs it, turns errors into sentences and exit codes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..core.errors import InputError, RobustMQError
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
    _open_streams()
    options = _parser().parse_args(argv)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except RobustMQError as error:
        _report(error, as_json=getattr(options, "json", False))
        return error.exit_code
    except KeyboardInterrupt:
        print(
            "\nInterrupted. Nothing half-written is left; `evaluate`, `corrupt`, `demo`, studies with `-o` and a "
            "`build` on more than 512 images go on there.",
            file=sys.stderr,
        )
        return _INTERRUPTED
    except BrokenPipeError:
        _give_up_stdout()  # the reader went away (`| head`): that is no failure
        return 0
    except OSError as error:
        # A full disk, a folder that may not be written: the machine's no, not a bug of ours.
        refusal = InputError(f"{error}. Check the path, its permissions and the space left.")
        _report(refusal, as_json=error.filename is not None and getattr(options, "json", False))
        _give_up_stdout()
        return refusal.exit_code
    return code


def _open_streams() -> None:
    """Give a process that was started without stdout or stderr (``>&-``, a daemon) one that leads nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def _give_up_stdout() -> None:
    """Drop what stdout could not take, or Python would try once more on its way out."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
