"""The errors a user can meet; each carries the exit code the command line ends with."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class RobustMQError(Exception):
    """A failure the user can act on: one sentence of what is wrong, one of what to do."""

    exit_code: ClassVar[int] = 3


class InputError(RobustMQError):
    """What the user handed in (a path, a flag, a file's content) is not usable."""

    exit_code = 2


class UnsupportedError(InputError):
    """The request is valid, but this installation, machine or model cannot serve it."""


class ThresholdError(RobustMQError):
    """A measured figure misses the bound the user set."""

    exit_code = 1


class PartialRunError(RobustMQError):
    """A run ended with cells missing or invalid."""

    exit_code = 3


class TargetChangedError(PartialRunError):
    """What is measured is not what it was when the run began."""


class EngineError(RobustMQError):
    """A runtime crashed, hung, raised, or gave scores of another shape than it owes."""


class RefusedError(RobustMQError):
    """Refused for security: the file reaches outside its folder, or is not trusted."""

    exit_code = 4


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error for a name that is in no catalog, with the nearest one as a hint.

    Args:
        kind: What was looked up, e.g. ``"attack"``.
        name: What the user wrote.
        known: The names that exist.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> str(unknown("attack", "sqare", ["pgd", "square"]))
        "Unknown attack 'sqare'. Did you mean 'square'? Known: pgd, square."
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
