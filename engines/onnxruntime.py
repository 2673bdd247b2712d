"""ONNX Runtime as a backend: the integer engine on CPU, and the same file with Q/DQ in float as the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from ..core.errors import EngineError, InputError, UnsupportedError
from ..core.files import sha256_file
from ..core.provenance import available_cores, cpu
from .audit import Audit
from .onnx_source import checked_model, external_hashes, first_line
from .onnxruntime_audit import Subject, audit_session
from .onnxruntime_signature import read_spec
from .protocol import Batch, EngineSpec

CPU_PROVIDERS = ("CPUExecutionProvider",)
_FP8 = frozenset((TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2))
_QUIET = 4  # fatal only: every error reaches the caller as an exception anyway


class OnnxRuntimeEngine:
    """A classifier in an ONNX file, executed by ONNX Runtime.

    Build it with :meth:`open`. Idle threads never spin: several engines share one process here, and spinning threads of
    the waiting one were seen to double the median and to multiply the 99th percentile of the working one.
    """

    def __init__(
        self, path: Path, *, threads: int, simulate: bool, providers: Sequence[str], operators: Sequence[Path]
    ) -> None:
        self._path = path
        self._sha256 = sha256_file(path)
        self._threads = threads
        self._simulate = simulate
        self._providers = tuple(providers)
        self._operators = {library: sha256_file(library) for library in operators}
        model = checked_model(path, custom_ops=bool(operators))
        if not simulate:
            _refuse_fp8(model, path)
        self._external = external_hashes(model, path.parent)
        self._session: Any = self._build()
        self._spec = read_spec(self._session, model.graph, path)
        self._dtype = np.dtype(self._spec.dtype)
        self._shape = self._spec.image_shape
        self._input_name = self._spec.input_name
        self._fixed_batch = self._spec.fixed_batch

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        threads: int | None = None,
        simulate: bool = False,
        providers: Sequence[str] = CPU_PROVIDERS,
        operators: Sequence[Path] = (),
    ) -> OnnxRuntimeEngine:
        """Build an engine from a float or QDQ file.

        Args:
            path: The ONNX file.
            threads: Threads inside one inference, at least 1; None takes every core this process may use.
            simulate: Switch all graph optimizations off, so that Q/DQ of a quantized file run in float.
            providers: Execution providers, most wanted first.
            operators: Libraries of custom operators. They are native code and run in this process, whatever is in
                them; `open_engine` asks for their hashes and gives them a process of their own.

        Raises:
            InputError: If the file is missing, is no valid ONNX, or ONNX Runtime refuses it or a library; or
                ``threads`` < 1.
            UnsupportedError: If ONNX Runtime or the provider is not there, the file holds custom operators without a
                library, or FP8 and ``simulate`` is off, or is no classifier of images with one input and one output.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"Model file '{path}' does not exist. Check the path.")
        if threads is not None and threads < 1:
            raise InputError(f"Expected `threads` of at least 1, got {threads}.")
        return cls(
            path, threads=threads or available_cores(), simulate=simulate, providers=providers, operators=operators
        )

    @property
    def spec(self) -> EngineSpec:
        """The engine's signature."""
        return self._spec

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Score a batch; see ``Engine.infer``.

        Raises:
            InputError: If shape or type differ from the spec, or the engine is closed.
            EngineError: If ONNX Runtime fails on the batch.
        """
        if batch.dtype != self._dtype or batch.shape[1:] != self._shape or not self._fits(len(batch)):
            raise InputError(self._spec.refusal(batch))
        if self._session is None:
            raise InputError(f"The engine of '{self._path.name}' is closed. Open it again.")
        try:
            (scores,) = self._session.run(None, {self._input_name: batch})
        except Exception as error:  # ONNX Runtime's errors share no base class but this
            raise EngineError(f"ONNX Runtime failed on a batch of {len(batch)}: {first_line(error)}.") from error
        return np.ascontiguousarray(scores, dtype=np.float32)

    def audit(self) -> Audit:
        """Prove from the optimized graph and a profiled run what this engine computes in integers.

        Raises:
            InputError: If the file is not the one the engine was built from any more.
        """
        if not self._path.is_file() or sha256_file(self._path) != self._sha256:
            raise InputError(f"'{self._path}' has changed since the engine was opened. Open it again.")
        shape = (self._fixed_batch or 1, *self._shape)
        # The values do not matter to the kernels; noise avoids the shortcuts that denormals or zeros might take.
        noise = np.random.default_rng(0).integers(0, 256, shape)
        batch = (noise if self._dtype == np.uint8 else noise / 127.5 - 1).astype(self._dtype)
        subject = Subject(
            model_path=self._path,
            backend=self._kind,
            simulation=self._simulate,
            batch=batch,
            input_name=self._input_name,
            identity=self.provenance(),
        )
        return audit_session(subject, lambda graph, profile: self._build(graph=graph, profile=profile))

    def provenance(self) -> Mapping[str, Any]:
        """Say as JSON data what runs here."""
        import onnxruntime as ort

        return {
            "backend": "onnxruntime",
            "kind": self._kind,
            "version": ort.__version__,
            "providers": list(self._providers),
            "threads": self._threads,
            "spinning": False,
            "optimization": "disabled" if self._simulate else "all",
            "cpu": cpu(),
            "model": self._path.name,
            "model_sha256": self._sha256,
            "external_data_sha256": dict(self._external),
            "custom_ops_sha256": {library.name: digest for library, digest in self._operators.items()},
        }

    def close(self) -> None:
        """Free the runtime's memory; a second call does nothing."""
        self._session = None

    def _fits(self, count: int) -> bool:
        return count > 0 and self._fixed_batch in (None, count)

    @property
    def _kind(self) -> str:
        return "onnxruntime-simulation" if self._simulate else "onnxruntime"

    def _build(self, *, graph: Path | None = None, profile: Path | None = None) -> Any:
        """Build a session; with paths, one that writes its optimized graph and profiles itself."""
        ort = _runtime()
        missing = [name for name in self._providers if name not in ort.get_available_providers()]
        if missing:
            known = ", ".join(ort.get_available_providers())
            raise UnsupportedError(f"This ONNX Runtime has no {missing[0]}. It has: {known}.")
        options = ort.SessionOptions()
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_DISABLE_ALL if self._simulate else levels.ORT_ENABLE_ALL
        for library in self._operators:
            _register(options, library)
        if graph is not None:
            options.optimized_model_filepath = str(graph)
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        return _session(ort, self._path, options, self._providers)


def _register(options: Any, library: Path) -> None:
    try:
        options.register_custom_ops_library(str(library.absolute()))
    except Exception as error:  # ONNX Runtime's errors share no base class but this
        raise InputError(
            f"ONNX Runtime cannot load the operator library '{library.name}': {first_line(error)}. It must be built "
            "for this system and export RegisterCustomOps."
        ) from error


def _refuse_fp8(model: onnx.ModelProto, path: Path) -> None:
    """Refuse what the optimizer would turn into integer operators that do not take it."""
    if any(tensor.data_type in _FP8 for tensor in model.graph.initializer):
        raise UnsupportedError(
            f"'{path}' is quantized to FP8, which no CPU kernel of ONNX Runtime takes. Give simulation:{path} (Q/DQ in "
            f"float), openvino:{path}, or build a TensorRT plan from it."
        )


def _session(ort: Any, path: Path, options: Any, providers: Sequence[str]) -> Any:
    try:
        session = ort.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's errors share no base class but this
        raise InputError(f"ONNX Runtime cannot load '{path}': {first_line(error)}.") from error
    if session.get_providers()[0] != providers[0]:
        raise UnsupportedError(
            f"{providers[0]} could not start and ONNX Runtime fell back to {session.get_providers()[0]}. "
            "Check the provider's libraries with `robustmq-trt doctor`."
        )
    return session


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UnsupportedError(
            f"ONNX Runtime is not importable: {error}. Install it with: pip install 'robustmq-trt[cpu]'"
        ) from error
    return onnxruntime
