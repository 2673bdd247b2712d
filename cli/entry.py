"""Where the command starts: it can be interrupted while the rest of it is still being imported."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> int:
    """Run the command line of this process.

    Returns:
        Its exit code, 130 also where Ctrl-C comes before anything has begun.
    """
    try:
        from .main import main as run

        return run()
    except KeyboardInterrupt:
        print("\nInterrupted. Nothing was begun.", file=sys.stderr)
        return _INTERRUPTED
