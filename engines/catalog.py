"""The table of backends: which targets each one takes, whether it works here, and how to install it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import InputError, UnsupportedError, unknown
from .onnxruntime import OnnxRuntimeEngine
from .openvino import OpenVinoEngine
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
        named_suffixes: File endings of other backends that it takes where the target names it.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    install: str
    open: Callable[[Path, int | None, bool], Engine]
    named_suffixes: tuple[str, ...] = ()


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


def _open_openvino(path: Path, threads: int | None, simulate: bool) -> Engine:
    return OpenVinoEngine.open(path, threads=threads, simulate=simulate)


BACKENDS: tuple[Backend, ...] = (
    Backend(
        name="onnxruntime",
        suffixes=(".onnx",),
        module="onnxruntime",
        install="pip install 'robustmq-trt[cpu]'",
        open=_open_onnxruntime,
    ),
    Backend(
        name="openvino",
        suffixes=(".xml",),
        module="openvino",
        install="pip install 'robustmq-trt[openvino]'",
        open=_open_openvino,
        named_suffixes=(".onnx",),
    ),
)
# The prefix that asks for ONNX Runtime with Q/DQ in float.
SIMULATION = "simulation"
_OF_SIMULATION = "onnxruntime"

# What a user may well ask for and this version cannot run, by the format's owner.
_NOT_YET: dict[str, str] = {
    ".plan": "TensorRT",
    ".engine": "TensorRT",
    ".tflite": "LiteRT",
    "v2+http": "Open Inference Protocol",
    "v2+https": "Open Inference Protocol",
    "v2+grpc": "Open Inference Protocol",
}


class SplitTarget(NamedTuple):
    """A target in its two parts.

    Attributes:
        backend: The backend it names, ``simulation``, or None where it names none.
        path: The rest: a path or URL.
    """

    backend: str | None
    path: str


def split_target(target: Path | str) -> SplitTarget:
    """Split a target like ``openvino:model.onnx`` into the backend it names and the path.

    Only names of this version's backends and ``simulation`` are prefixes; a file whose own name begins like that is
    written ``./openvino:model.onnx``, as text: a ``Path`` drops the ``./``.

    Example:
        >>> split_target("simulation:model.onnx")
        SplitTarget(backend='simulation', path='model.onnx')
        >>> split_target("model.onnx")
        SplitTarget(backend=None, path='model.onnx')
    """
    name, colon, path = str(target).partition(":")
    if colon and name in _prefixes() and not path.startswith("//"):
        return SplitTarget(name, path)
    return SplitTarget(None, str(target))


def open_engine(target: Path | str, *, threads: int | None = None, simulate: bool = False) -> Engine:
    """Open a target with the backend it names, else with the one that takes its suffix.

    Args:
        target: Path of a model file, or one with a backend in front: ``openvino:model.onnx``,
            ``simulation:model.onnx`` (ONNX Runtime with Q/DQ in float).
        threads: Threads inside one inference, at least 1; None takes every core this process may use.
        simulate: Run Q/DQ in float instead of integer kernels.

    Raises:
        InputError: If the file is missing, its backend refuses it, or the named backend does not exist.
        UnsupportedError: If no backend of this version takes the target, or the backend is not installed.
    """
    backend = find_backend(target)
    prefix, path = split_target(target)
    if not Path(path).is_file():
        raise InputError(f"Model file '{path}' does not exist. Check the path.")
    status = _status(backend)
    if not status.works:
        raise UnsupportedError(f"Backend '{backend.name}' does not work here: {status.reason}. Run: {backend.install}")
    return backend.open(Path(path), threads, simulate or prefix == SIMULATION)


def find_backend(target: Path | str) -> Backend:
    """Give the backend that takes a target: the one it names, else by suffix alone.

    Raises:
        InputError: If the target names a backend that does not exist.
        UnsupportedError: If no backend of this version takes it, or not the one it names.
    """
    name, path = split_target(target)
    suffix = path.partition("://")[0] if "://" in path else Path(path).suffix.lower()
    if name is not None:
        return _named(name, path, suffix)
    _refuse_unknown_prefix(path)
    found = next((backend for backend in BACKENDS if suffix in backend.suffixes), None)
    if found is not None:
        return found
    known = ", ".join(ending for backend in BACKENDS for ending in backend.suffixes)
    owner = _NOT_YET.get(suffix)
    if owner is not None:
        raise UnsupportedError(f"The {owner} backend for '{path}' is not available in this version. It runs: {known}.")
    raise UnsupportedError(f"No backend takes '{path}': its ending is '{suffix}'. This version runs: {known}.")


def _named(name: str, path: str, suffix: str) -> Backend:
    wanted = _OF_SIMULATION if name == SIMULATION else name
    backend = next(backend for backend in BACKENDS if backend.name == wanted)
    endings = backend.suffixes + backend.named_suffixes
    if suffix not in endings:
        raise UnsupportedError(f"Backend '{wanted}' does not take '{path}'. It runs: {', '.join(endings)}.")
    return backend


def _refuse_unknown_prefix(path: str) -> None:
    """Take a word and a colon in front of no existing file for a misspelt backend; one letter is a Windows drive."""
    word = re.match(r"([A-Za-z][\w-]+):(?!//)", path)
    if word and not Path(path).exists():
        raise unknown("backend", word[1], _prefixes())


def _prefixes() -> tuple[str, ...]:
    return (*(backend.name for backend in BACKENDS), SIMULATION)


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
