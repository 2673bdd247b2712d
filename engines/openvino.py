"""OpenVINO as a backend: the second integer engine on CPU, for its own IR and for ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import EngineError, InputError, UnsupportedError
from ..core.provenance import available_cores, cpu
from .audit import Audit
from .openvino_audit import Subject, audit_model
from .openvino_files import Source, read_source, reason
from .openvino_signature import read_spec
from .protocol import Batch, EngineSpec

INSTALL = "pip install 'robustmq-trt[openvino]'"
_DEVICE = "CPU"


class OpenVinoEngine:
    """A classifier in an OpenVINO IR or ONNX file, executed by OpenVINO on the CPU.

    Build it with :meth:`open`. The batch stays dynamic where the file allows it: an image's scores are then the same
    bits at every batch size, and a new size costs no new compilation.
    """

    def __init__(self, path: Path, *, threads: int, simulate: bool) -> None:
        self._path = path
        self._threads = threads
        self._simulate = simulate
        openvino = _runtime()
        self._tensor: Any = openvino.Tensor
        self._core: Any = openvino.Core()
        self._version = str(openvino.get_version())
        source = read_source(self._core, path)
        self._hashes = (source.sha256, dict(source.beside))
        self._spec = read_spec(source.model, path)
        self._dtype = np.dtype(self._spec.dtype)
        self._shape = self._spec.image_shape
        self._compiled: Any = self._compile(source)
        self._request: Any = self._compiled.create_infer_request()
        self._effective = {name: _plain(self._compiled.get_property(name)) for name in _options(threads)}

    @classmethod
    def open(cls, path: Path | str, *, threads: int | None = None, simulate: bool = False) -> OpenVinoEngine:
        """Build an engine from an IR or an ONNX file, float or QDQ.

        Args:
            path: The ``.xml`` file, its ``.bin`` beside it, or the ``.onnx`` file.
            threads: Threads inside one inference, at least 1; None takes every core this process may use. OpenVINO
                takes no more than there are cores; the number it took is in the provenance.
            simulate: Switch OpenVINO's low-precision transformations off, so that Q/DQ run in float.

        Raises:
            InputError: If the file or its ``.bin`` is missing or damaged, or OpenVINO refuses it; or ``threads`` < 1.
            UnsupportedError: If OpenVINO is not there, the file holds operators of foreign domains, or is no classifier
                of images with one input and one output.
            RefusedError: If the ``.bin`` is a link out of the model's folder.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"Model file '{path}' does not exist. Check the path.")
        if threads is not None and threads < 1:
            raise InputError(f"Expected `threads` of at least 1, got {threads}.")
        return cls(path, threads=threads or available_cores(), simulate=simulate)

    @property
    def spec(self) -> EngineSpec:
        """The engine's signature."""
        return self._spec

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Score a batch; see ``Engine.infer``.

        Raises:
            InputError: If shape or type differ from the spec, or the engine is closed.
            EngineError: If OpenVINO fails on the batch.
        """
        if batch.dtype != self._dtype or batch.shape[1:] != self._shape or not self._fits(len(batch)):
            raise InputError(self._spec.refusal(batch))
        if self._request is None:
            raise InputError(f"The engine of '{self._path.name}' is closed. Open it again.")
        # OpenVINO reads the array in place without keeping it alive, and takes none that is scattered or read-only.
        values = np.require(batch, requirements=("C", "W"))
        try:
            self._request.set_input_tensor(self._tensor(values, shared_memory=True))
            self._request.infer()
            scores = self._request.get_output_tensor().data
        except Exception as error:  # OpenVINO's errors share no base class but this
            raise EngineError(f"OpenVINO failed on a batch of {len(batch)}: {reason(error)}.") from error
        return np.array(scores, dtype=np.float32)  # a copy: the request writes the next scores into the same memory

    def audit(self) -> Audit:
        """Prove from the runtime model and a profiled run what this engine computes in integers.

        Raises:
            InputError: If the files are not the ones the engine was built from any more.
        """
        if not self._path.is_file():
            raise InputError(f"'{self._path}' does not exist any more. Put it back.")
        source = read_source(self._core, self._path)
        if (source.sha256, dict(source.beside)) != self._hashes:
            raise InputError(f"'{self._path}' has changed since the engine was opened. Open it again.")
        shape = (self._spec.fixed_batch or 1, *self._shape)
        # The values do not matter to the kernels; noise avoids the shortcuts that denormals or zeros might take.
        noise = np.random.default_rng(0).integers(0, 256, shape)
        subject = Subject(
            source=source,
            compiled=self._compile(source, profile=True),
            backend=self._kind,
            simulation=self._simulate,
            batch=(noise if self._dtype == np.uint8 else noise / 127.5 - 1).astype(self._dtype),
            identity=self.provenance(),
        )
        return audit_model(subject)

    def provenance(self) -> Mapping[str, Any]:
        """Say as JSON data what runs here."""
        sha256, beside = self._hashes
        return {
            "backend": "openvino",
            "kind": self._kind,
            "version": self._version,
            "providers": [_DEVICE],
            "threads": int(self._effective["INFERENCE_NUM_THREADS"]),
            "threads_asked": self._threads,
            "optimization": "low-precision transformations off" if self._simulate else "all",
            "options": dict(self._effective),
            "batch": "dynamic" if self._spec.fixed_batch is None else "fixed",
            "cpu": cpu(),
            "model": self._path.name,
            "model_sha256": sha256,
            "external_data_sha256": beside,
        }

    def close(self) -> None:
        """Free the runtime's memory; a second call does nothing."""
        self._request = self._compiled = None

    def _fits(self, count: int) -> bool:
        return count > 0 and self._spec.fixed_batch in (None, count)

    @property
    def _kind(self) -> str:
        return "openvino-simulation" if self._simulate else "openvino"

    def _compile(self, source: Source, *, profile: bool = False) -> Any:
        options = {**_options(self._threads), **({"LP_TRANSFORMS_MODE": "NO"} if self._simulate else {})}
        try:
            return self._core.compile_model(source.model, _DEVICE, {**options, "PERF_COUNT": profile})
        except Exception as error:  # OpenVINO's errors share no base class but this
            raise InputError(f"OpenVINO cannot compile '{self._path}': {reason(error)}.") from error


def _options(threads: int) -> dict[str, Any]:
    """Give every option that moves numbers or times, so that no default of a version or processor decides."""
    return {
        "INFERENCE_PRECISION_HINT": "f32",  # the default is bf16 where the processor has it
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # the default quantizes activations behind compressed weights by itself
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # several engines share one process here, and the cores with it
    }


def _plain(value: Any) -> Any:
    """Turn a property into JSON data."""
    if isinstance(value, bool | int | str):
        return value
    return str(value.get_type_name()) if hasattr(value, "get_type_name") else str(value)


def _runtime() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise UnsupportedError(f"OpenVINO is not importable: {error}. Install it with: {INSTALL}") from error
    return openvino
