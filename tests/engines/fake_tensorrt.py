"""A stand-in for TensorRT's module that has exactly the names a real version has, and runs plans by ONNX Runtime.

Plans are an ONNX file behind a header. It proves the order of calls and the arithmetic of batches, not TensorRT.
"""

from __future__ import annotations

import ctypes
import enum
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

NAMES = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text())
MAGIC = b"fake plan\n"
INSPECTOR = json.dumps({"Layers": [], "Bindings": []})


class Guarded:
    """Refuses, for reading and writing, every public name the real class of this version lacks."""

    _allowed: frozenset[str] = frozenset()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in type(self)._allowed:
            raise AttributeError(f"{type(self).__name__} has no '{name}' in this version")
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in type(self)._allowed:
            raise AttributeError(f"{type(self).__name__} has no '{name}' in this version")
        object.__setattr__(self, name, value)


class Builder(Guarded):
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> Any:
        return _make(self, "INetworkDefinition", flags)

    def create_builder_config(self) -> Any:
        return _make(self, "IBuilderConfig")

    def create_optimization_profile(self) -> Any:
        return _make(self, "IOptimizationProfile")

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        self._module._seen.update(network_flags=network._flags, flags=set(config._flags), shapes=config._shapes)
        if getattr(config, "progress_monitor", None) is not None:
            config.progress_monitor.phase_start("Building", None, 2)
            assert config.progress_monitor.step_complete("Building", 0)
            config.progress_monitor.phase_finish("Building")
        if self._module._fail_build:
            self._logger.log(self._module.ILogger.ERROR, "Could not find any implementation for node conv.")
            return None
        head = json.dumps(config._shapes).encode()
        return MAGIC + head + b"\n" + network._model


class IBuilderConfig(Guarded):
    def __init__(self) -> None:
        self._flags, self._shapes, self._cache = set(), None, None

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        assert size > 0

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag.name)

    def create_timing_cache(self, content: bytes) -> Any:
        return _make(self, "ITimingCache", content)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache

    def add_optimization_profile(self, profile: Any) -> int:
        self._shapes = profile._shapes
        return 0


class IOptimizationProfile(Guarded):
    def set_shape(self, name: str, smallest: Any, best: Any, largest: Any) -> None:
        self._shapes = [list(smallest), list(best), list(largest)]


class ITimingCache(Guarded):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content + b"+"


class INetworkDefinition(Guarded):
    def __init__(self, flags: int) -> None:
        self._flags, self._model = flags, b""

    def get_input(self, index: int) -> Any:
        entry = onnx.load_from_string(self._model).graph.input[index]
        tensor = _make(self, "ITensor")
        tensor.name = entry.name
        tensor.shape = [dim.dim_value or -1 for dim in entry.type.tensor_type.shape.dim]
        return tensor


class ITensor(Guarded):
    pass


class OnnxParser(Guarded):
    def __init__(self, network: Any, logger: Any) -> None:
        self._network = network

    def parse(self, model: bytes, path: str | None = None) -> bool:
        self._network._model = model
        return b"Unparsable" not in model

    @property
    def num_errors(self) -> int:
        return 1

    def get_error(self, index: int) -> Any:
        return _make(self, "ParserError")


class ParserError(Guarded):
    def node(self) -> int:
        return 7

    def desc(self) -> str:
        return "Assertion failed: shiftIsAllZeros\n(zeroPoint)."


class Runtime(Guarded):
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        assert self.engine_host_code_allowed is False
        if not content.startswith(MAGIC):
            self._logger.log(self._module.ILogger.ERROR, "Serialization assertion magicTagRead == kMAGIC_TAG failed.")
            return None
        return _make(self, "ICudaEngine", content.removeprefix(MAGIC))


class ICudaEngine(Guarded):
    def __init__(self, content: bytes) -> None:
        shapes, _, model = content.partition(b"\n")
        self._shapes = json.loads(shapes)
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._tensors = [*self._session.get_inputs(), *self._session.get_outputs()]

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index].name

    def get_tensor_mode(self, name: str) -> Any:
        modes = self._module.TensorIOMode
        return modes.INPUT if name == self._tensors[0].name else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self._module.DataType.FLOAT

    def get_tensor_shape(self, name: str) -> list[int]:
        tensor = next(tensor for tensor in self._tensors if tensor.name == name)
        return [side if isinstance(side, int) else -1 for side in tensor.shape]

    def get_tensor_profile_shape(self, name: str, index: int) -> list[list[int]]:
        return self._shapes

    def create_execution_context(self) -> Any:
        return None if self._module._out_of_memory else _make(self, "IExecutionContext", self)

    def create_engine_inspector(self) -> Any:
        return _make(self, "EngineInspector")


class EngineInspector(Guarded):
    def get_engine_information(self, kind: Any) -> str:
        assert self.execution_context is not None
        return self._module._inspector


class IExecutionContext(Guarded):
    def __init__(self, engine: Any) -> None:
        self._engine, self._shape, self._addresses = engine, None, {}

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self._shape = tuple(shape)
        smallest, _, largest = self._engine._shapes
        return smallest[0] <= shape[0] <= largest[0]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = int(memory)
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self._engine
        shape = self._shape or engine._tensors[0].shape
        self._module._seen.setdefault("batches", []).append(shape[0])
        images = _at(self._addresses[engine._tensors[0].name], tuple(shape))
        (scores,) = engine._session.run(None, {engine._tensors[0].name: images})
        _at(self._addresses[engine._tensors[1].name], scores.shape)[...] = scores
        return not self._module._fail_run


def _at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)


_CLASSES = [value for value in list(globals().values()) if isinstance(value, type) and issubclass(value, Guarded)]


def _make(owner: Any, name: str, *arguments: Any) -> Any:
    return getattr(type(owner)._module, name)(*arguments)


class FakeModule(SimpleNamespace):
    """The module of one version, with switches for what should go wrong and notes of what was asked."""


def module(version: str) -> Any:
    """Give the stand-in for one version."""
    names = NAMES[version]
    made = FakeModule(__version__=version, _seen={}, _inspector=INSPECTOR)
    made._fail_build = made._fail_run = made._out_of_memory = False
    for base in _CLASSES:
        if base is not Guarded and base.__name__ in names:
            fields = {"_allowed": frozenset(names[base.__name__]), "_module": made}
            setattr(made, base.__name__, type(base.__name__, (base,), fields))
    for name in (
        "BuilderFlag",
        "DataType",
        "LayerInformationFormat",
        "MemoryPoolType",
        "NetworkDefinitionCreationFlag",
    ):
        setattr(made, name, _enum(name, names[name]))
    for name in ("ProfilingVerbosity", "TensorIOMode"):
        setattr(made, name, _enum(name, names[name]))
    made.ILogger = type("ILogger", (), {name: name for name in names["ILogger"] if name.isupper()})
    if "IProgressMonitor" in names:
        made.IProgressMonitor = type("IProgressMonitor", (), {})
    return made


def _enum(name: str, members: list[str]) -> Any:
    return enum.IntEnum(name, {member: number for number, member in enumerate(m for m in members if m.isupper())})


class HostMemory:
    """Device memory that is the host's; counts what is held."""

    def __init__(self) -> None:
        self.held: list[np.ndarray] = []
        self.captured = self.launched = 0

    def allocate(self, size_bytes: int) -> int:
        return int(self.pinned(size_bytes).ctypes.data)

    def pinned(self, size_bytes: int) -> np.ndarray:
        self.held.append(np.zeros(size_bytes, np.uint8))
        return self.held[-1]

    def stream(self) -> HostStream:
        return HostStream(self)

    def close(self) -> None:
        self.held.clear()


class HostStream:
    handle = 1

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory

    def upload(self, pointer: int, values: np.ndarray) -> None:
        assert any(np.shares_memory(values, held) for held in self._memory.held), "only pinned memory is copied"
        ctypes.memmove(pointer, values.ctypes.data, values.nbytes)

    def download(self, values: np.ndarray, pointer: int) -> None:
        assert any(np.shares_memory(values, held) for held in self._memory.held), "only pinned memory is copied"
        ctypes.memmove(values.ctypes.data, pointer, values.nbytes)

    def mark(self) -> HostMark:
        return HostMark()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self._memory.captured += 1

        def launch() -> None:
            self._memory.launched += 1
            work()

        return launch


class HostMark:
    def wait(self) -> None:
        pass

    def milliseconds_since(self, earlier: HostMark) -> float:
        return 0.5
