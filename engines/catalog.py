"""The table of backends: which targets each one takes, how to install it, and the door through which it is opened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.errors import InputError, UnsupportedError, unknown
from .backend import Backend, BackendStatus, status
from .child import ChildEngine, Isolation
from .cuda_driver import find_gpu
from .custom_ops import needs_library, open_with_libraries, trusted_libraries
from .device import provider
from .litert import LiteRtEngine
from .onnxruntime import OnnxRuntimeEngine
from .openvino import OpenVinoEngine
from .protocol import Engine
from .remote import RemoteEngine
from .remote_retry import Policy
from .tensorrt import TensorRtEngine
from .trust import trusted_files


def _open_onnxruntime(path: str, threads: int | None, simulate: bool) -> Engine:
    return OnnxRuntimeEngine.open(path, threads=threads, simulate=simulate)


def _open_openvino(path: str, threads: int | None, simulate: bool) -> Engine:
    return OpenVinoEngine.open(path, threads=threads, simulate=simulate)


def _open_litert(path: str, threads: int | None, simulate: bool) -> Engine:
    return LiteRtEngine.open(path, threads=threads, simulate=simulate)


def _open_litert_builtin(path: str, threads: int | None, simulate: bool) -> Engine:
    return LiteRtEngine.open(path, threads=threads, simulate=simulate, delegate=False)


def _open_tensorrt(path: str, threads: int | None, simulate: bool) -> Engine:
    return TensorRtEngine.open(path, threads=threads, simulate=simulate)


def _open_tensorrt_graph(path: str, threads: int | None, simulate: bool) -> Engine:
    return TensorRtEngine.open(path, threads=threads, simulate=simulate, graph=True)


def _open_remote(path: str, threads: int | None, simulate: bool, *, limits: Isolation | None = None) -> Engine:
    policy = None if limits is None else Policy(deadline_s=limits.call_seconds)
    return RemoteEngine.open(path, threads=threads, simulate=simulate, policy=policy)


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
    Backend(
        name="litert",
        suffixes=(".tflite",),
        module="ai_edge_litert.interpreter",
        install="pip install 'robustmq-trt[litert]'",
        open=_open_litert,
    ),
    Backend(
        name="litert-builtin",
        suffixes=(),
        module="ai_edge_litert.interpreter",
        install="pip install 'robustmq-trt[litert]'",
        open=_open_litert_builtin,
        named_suffixes=(".tflite",),
    ),
    Backend(
        name="tensorrt",
        suffixes=(".plan", ".engine"),
        module="tensorrt",
        install="pip install 'robustmq-trt[tensorrt]'",
        open=_open_tensorrt,
        probes=(find_gpu, provider),
        native_code=True,
    ),
    Backend(
        name="tensorrt-graph",
        suffixes=(),
        module="tensorrt",
        install="pip install 'robustmq-trt[tensorrt]'",
        open=_open_tensorrt_graph,
        named_suffixes=(".plan", ".engine"),
        probes=(find_gpu, provider),
        native_code=True,
    ),
    Backend(
        name="v2",
        suffixes=(),
        module="robustmq_trt.engines.remote",
        install="pip install robustmq-trt",
        open=_open_remote,
        named_suffixes=("http://", "https://"),
    ),
    Backend(
        name="v2+grpc",
        suffixes=("v2+grpc://", "v2+grpcs://"),
        module="grpc",
        install="pip install 'robustmq-trt[grpc]'",
        open=_open_remote,
    ),
)
# The prefix that asks for ONNX Runtime with Q/DQ in float.
SIMULATION = "simulation"
_OF_SIMULATION = "onnxruntime"


class SplitTarget(NamedTuple):
    """A target in its two parts.

    Attributes:
        backend: The backend it names, ``simulation``, or None where it names none.
        path: The rest: a path or URL.
    """

    backend: str | None
    path: str


def is_url(path: str) -> bool:
    """Tell the URL of a server from a path."""
    return "://" in path


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


def open_engine(
    target: Path | str,
    *,
    threads: int | None = None,
    simulate: bool = False,
    isolate: Isolation | None = None,
    trust: Sequence[str] = (),
    custom_ops: Sequence[Path] = (),
) -> Engine:
    """Open a target with the backend it names, else with the one that takes its suffix.

    Args:
        target: Path of a model file, or one with a backend in front: ``openvino:model.onnx``,
            ``simulation:model.onnx`` (ONNX Runtime with Q/DQ in float), ``v2:http://HOST:PORT/MODEL`` or
            ``v2+grpc://HOST:PORT/MODEL`` (a server).
        threads: Threads inside one inference, at least 1; None takes every core this process may use.
        simulate: Run Q/DQ in float instead of integer kernels.
        isolate: Limits of a child process to run the engine in, or None to run it in this one. Files of native code
            are always opened in a child; a server never is, the limits' deadline then holds for its requests.
        trust: Hashes of native-code files that may be opened, ``sha256:...`` each.
        custom_ops: Libraries of custom operators for ONNX Runtime, native code too. A file that uses such operators is
            opened in a child.

    Raises:
        InputError: If the file is missing, its backend refuses it, or the named backend does not exist.
        RefusedError: If the file or a library is native code and its hash is not among those trusted.
        EngineError: If the child process crashes or hangs at the door.
        UnsupportedError: If no backend of this version takes the target, or the backend is not installed.
    """
    backend = find_backend(target)
    prefix, path = split_target(target)
    if not is_url(path) and not Path(path).is_file():
        raise InputError(f"Model file '{path}' does not exist. Check the path.")
    files = trusted_files(Path(path), trust) if backend.native_code else {}
    state = status(backend)
    if not state.works:
        raise UnsupportedError(f"Backend '{backend.name}' does not work here: {state.reason}. Run: {backend.install}")
    simulate = simulate or prefix == SIMULATION
    if is_url(path):  # nothing of it runs here, so of the limits only the deadline has a meaning
        return _open_remote(path, threads, simulate, limits=isolate)
    if custom_ops and backend.name == "onnxruntime" and needs_library(Path(path)):
        libraries = trusted_libraries(custom_ops, trust)
        return open_with_libraries(path, libraries, threads=threads, simulate=simulate, limits=isolate)
    if not backend.native_code and isolate is None:
        return backend.open(path, threads, simulate)
    return ChildEngine.open(path, backend=backend.name, threads=threads, simulate=simulate, limits=isolate, files=files)


def open_here(backend: str, path: str, threads: int | None, simulate: bool) -> Engine:
    """Open a file in this process without a question: the inner door, for a child process."""
    return next(entry for entry in BACKENDS if entry.name == backend).open(path, threads, simulate)


def find_backend(target: Path | str) -> Backend:
    """Give the backend that takes a target: the one it names, else by suffix alone.

    Raises:
        InputError: If the target names a backend that does not exist.
        UnsupportedError: If no backend of this version takes it, or not the one it names.
    """
    name, path = split_target(target)
    suffix = f"{path.partition('://')[0]}://" if is_url(path) else Path(path).suffix.lower()
    if name is not None:
        return _named(name, path, suffix)
    _refuse_unknown_prefix(path)
    found = next((backend for backend in BACKENDS if suffix in backend.suffixes), None)
    if found is not None:
        return found
    known = ", ".join([*(ending for backend in BACKENDS for ending in backend.suffixes), "v2:http://HOST:PORT/MODEL"])
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
    return [status(backend) for backend in BACKENDS]
