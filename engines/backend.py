"""What a backend is: what it takes, what it needs, and whether that is here. The table of them is the catalog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from ..core.errors import UnsupportedError
from .protocol import Engine


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One runtime.

    Attributes:
        name: What the user calls it.
        suffixes: File endings it takes, lower-case.
        module: Module that must be importable.
        install: The exact line that installs it.
        open: Builds an engine from a path or URL, with a number of threads (None: all) and the simulation switch.
        named_suffixes: File endings of other backends that it takes where the target names it.
        probes: What must also work; each raises `UnsupportedError` with the reason where it does not.
        native_code: Whether its files are native code: opened only with their hash named, and in a child process.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    install: str
    open: Callable[[str, int | None, bool], Engine]
    named_suffixes: tuple[str, ...] = ()
    probes: tuple[Callable[[], object], ...] = ()
    native_code: bool = False


@dataclass(frozen=True, kw_only=True)
class BackendStatus:
    """Whether one backend works here.

    Attributes:
        name: Name of the backend.
        works: True if its module could be imported.
        version: Release of the module, without its build; empty where it does not work.
        reason: Why it does not work; empty where it does.
        install: The exact line that installs it.
        suffixes: File endings it takes, with its name in front where it takes them by name only.
    """

    name: str
    works: bool
    version: str
    reason: str
    install: str
    suffixes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the status as JSON data."""
        return asdict(self)


def status(backend: Backend) -> BackendStatus:
    """Say whether a backend works here: its module can be imported, and what it needs beside that is there."""
    version, reasons = "", []
    try:
        module, package = import_module(backend.module), import_module(backend.module.partition(".")[0])
        version = str(getattr(module, "__version__", getattr(package, "__version__", "unknown")))
        version = version.partition("-")[0]  # OpenVINO appends number, commit and branch of its build
    except Exception as error:  # a broken native library fails in its own ways
        reasons.append(str(error) or type(error).__name__)
    for probe in backend.probes:
        try:
            probe()
        except UnsupportedError as error:
            reasons.append(str(error).rstrip("."))
    return BackendStatus(
        name=backend.name,
        works=not reasons,
        version="" if reasons else version,
        reason="; ".join(reasons),
        install=backend.install,
        suffixes=backend.suffixes or tuple(f"{backend.name}:{ending}" for ending in backend.named_suffixes),
    )
