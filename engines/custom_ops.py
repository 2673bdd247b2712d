"""Custom operators: libraries of native code for ONNX Runtime, taken by hash alone and run in a child process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import EngineError, InputError
from .child import ChildEngine, Isolation
from .onnx_source import checked_model, custom_operators
from .onnxruntime import OnnxRuntimeEngine
from .protocol import Engine
from .trust import trusted_files

_OPENER = "robustmq_trt.engines.custom_ops:open_here"


def needs_library(path: Path) -> bool:
    """Tell whether an ONNX file uses custom operators.

    Raises:
        InputError: If the file is no valid ONNX.
    """
    return bool(custom_operators(checked_model(path, custom_ops=True)))


def trusted_libraries(paths: Sequence[Path], trust: Sequence[str]) -> dict[str, bytes]:
    """Read libraries that the user trusts.

    Args:
        paths: The libraries.
        trust: What the user trusts: ``sha256:`` and 64 hexadecimal digits each.

    Returns:
        File name to content.

    Raises:
        InputError: If one is missing, or two have one name.
        RefusedError: If the digest of one is not among those trusted.
    """
    found: dict[str, bytes] = {}
    for path in paths:
        if not path.is_file():
            raise InputError(f"Operator library '{path}' does not exist. Check --custom-ops.")
        if path.name in found:
            raise InputError(f"Two operator libraries are called '{path.name}'. Give each once, under its own name.")
        found[path.name] = trusted_files(path, trust)[path.name]
    return found


def open_with_libraries(
    path: str, libraries: Mapping[str, bytes], *, threads: int | None, simulate: bool, limits: Isolation | None
) -> ChildEngine:
    """Open an ONNX file in a child process that loads libraries of custom operators.

    The child gets copies of the bytes that were hashed, so a library can't find others by lying beside them.

    Args:
        path: The ONNX file.
        libraries: File name to content.
        threads: Threads inside one inference; None takes every core.
        simulate: Run Q/DQ in float.
        limits: Deadlines and memory; None for the usual ones.

    Raises:
        InputError: If ONNX Runtime refuses a library or the file, or the child dies of them.
    """
    try:
        return ChildEngine.open(
            path,
            backend="onnxruntime",
            threads=threads,
            simulate=simulate,
            limits=limits,
            files=libraries,
            operators=tuple(libraries),
            opener=_OPENER,
        )
    except EngineError as error:
        raise InputError(f"{error} It had loaded operators from: {', '.join(libraries)}. Check them.") from error
    except InputError as error:
        raise type(error)(f"{error} Operators came from: {', '.join(libraries)}.") from error


def open_here(backend: str, path: str, threads: int | None, simulate: bool, *libraries: str) -> Engine:
    """Open an ONNX file with libraries in this process without a question: the inner door, for a child process."""
    assert backend == "onnxruntime", backend
    return OnnxRuntimeEngine.open(
        path, threads=threads, simulate=simulate, operators=[Path(library) for library in libraries]
    )
