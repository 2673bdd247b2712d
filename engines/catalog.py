"""The table of backends: which suffix each one takes, whether it works here, and how to install it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..core.errors import InputError, UnsupportedError
from .onnxruntime import OnnxRuntimeEngine
from .protocol import Engine


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One runtime.

    Attributes:
        name: What the user calls it.
        suffixes: File endings it takes, lower-case.
        module: Module that must be importable.
        install: The exact line that installs it.
        open: Builds an engine from a path, with a number of threads (None: all) and the simulation switch.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    install: str
    open: Callable[[Path, int | None, bool], Engine]


@dataclass(frozen=True, kw_only=True)
class BackendStatus:
    """Whether one backend works here.

    Attributes:
        name: Name of the backend.
        works: True if its module could be imported.
        version: Version of the module; empty where it does not work.
        reason: Why it does not work; empty where it does.
        install: The exact line that installs it.
        suffixes: File endings it takes.
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


def _open_onnxruntime(path: Path, threads: int | None, simulate: bool) -> Engine:
    return OnnxRuntimeEngine.open(path, threads=threads, simulate=simulate)


BACKENDS: tuple[Backend, ...] = (
    Backend(
        name="onnxruntime",
        suffixes=(".onnx",),
        module="onnxruntime",
        install="pip install 'robustmq-trt[cpu]'",
        open=_open_onnxruntime,
    ),
)

# What a user may well ask for and this version cannot run, by the format's owner.
_NOT_YET: dict[str, str] = {
    ".plan": "TensorRT",
    ".engine": "TensorRT",
    ".xml": "OpenVINO",
    ".tflite": "LiteRT",
    "v2+http": "Open Inference Protocol",
    "v2+https": "Open Inference Protocol",
    "v2+grpc": "Open Inference Protocol",
}


def open_engine(target: Path | str, *, threads: int | None = None, simulate: bool = False) -> Engine:
    """Open a target with the backend that takes its suffix.

    Args:
        target: Path of a model file.
        threads: Threads inside one inference, at least 1; None takes every core this process may use.
        simulate: Run Q/DQ in float instead of integer kernels.

    Raises:
        InputError: If the file is missing or its backend refuses it.
        UnsupportedError: If no backend of this version takes the target, or the backend is not installed.
    """
    backend = find_backend(target)
    if not Path(target).is_file():
        raise InputError(f"Model file '{target}' does not exist. Check the path.")
    status = _status(backend)
    if not status.works:
        raise UnsupportedError(f"Backend '{backend.name}' does not work here: {status.reason}. Run: {backend.install}")
    return backend.open(Path(target), threads, simulate)


def find_backend(target: Path | str) -> Backend:
    """Give the backend that takes a target, by suffix alone.

    Raises:
        UnsupportedError: If no backend of this version does.
    """
    text = str(target)
    suffix = text.partition("://")[0] if "://" in text else Path(text).suffix.lower()
    found = next((backend for backend in BACKENDS if suffix in backend.suffixes), None)
    if found is not None:
        return found
    known = ", ".join(ending for backend in BACKENDS for ending in backend.suffixes)
    owner = _NOT_YET.get(suffix)
    if owner is not None:
        raise UnsupportedError(f"The {owner} backend for '{text}' is not available in this version. It runs: {known}.")
    raise UnsupportedError(f"No backend takes '{text}': its ending is '{suffix}'. This version runs: {known}.")


def doctor() -> list[BackendStatus]:
    """Say for every backend of this version whether it works here."""
    return [_status(backend) for backend in BACKENDS]


def _status(backend: Backend) -> BackendStatus:
    version, reason = "", ""
    try:
        version = str(getattr(import_module(backend.module), "__version__", "unknown"))
    except Exception as error:  # a broken native library fails in its own ways
        reason = str(error) or type(error).__name__
    return BackendStatus(
        name=backend.name,
        works=not reason,
        version=version,
        reason=reason,
        install=backend.install,
        suffixes=backend.suffixes,
    )
