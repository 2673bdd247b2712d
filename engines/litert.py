"""LiteRT as a backend: a vendor's .tflite file, run by the XNNPACK delegate or by LiteRT's own kernels."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import EngineError, InputError, UnsupportedError
from ..core.provenance import available_cores, cpu
from .audit import Audit
from .litert_audit import audit_source, delegated
from .litert_files import INSTALL, Source, read_source
from .litert_signature import EIGHT_BITS, quantization, read_spec
from .protocol import Batch, EngineSpec

DELEGATE = "XNNPACK"  # the one delegate that the default resolver applies on a CPU
_SIGN_BIT = np.uint8(0x80)


class LiteRtEngine:
    """A classifier in a .tflite file, executed by LiteRT on the CPU.

    Build it with :meth:`open`. A file of batch 1, as vendors ship them, is run image by image, as on the device; a file
    whose batch is open is resized to each batch.
    """

    def __init__(self, source: Source, path: Path, *, threads: int, delegate: bool) -> None:
        self._source, self._path, self._threads, self._delegate = source, path, threads, delegate
        self._spec = read_spec(source, path)
        self._dtype = np.dtype(self._spec.dtype)
        entry, exit_ = source.inputs[0], source.outputs[0]
        self._entry, self._exit = entry, exit_
        self._signed = source.tensors[entry].dtype == "int8"
        quantized = source.tensors[exit_].dtype in EIGHT_BITS
        self._output_grid = quantization(source.tensors[exit_]) if quantized else None
        self._resizes = source.tensors[entry].shape[0] is None
        self._step = self._spec.fixed_batch or 1
        self._interpreter: Any = self._build()
        self._delegated = delegated(source, self._interpreter)

    @classmethod
    def open(
        cls, path: Path | str, *, threads: int | None = None, simulate: bool = False, delegate: bool = True
    ) -> LiteRtEngine:
        """Build an engine from a .tflite file, float or quantized.

        Args:
            path: The file.
            threads: Threads inside one inference, at least 1; None takes every core this process may use.
            simulate: Not possible here; there for the common signature.
            delegate: Let XNNPACK take the operators it can, as LiteRT does by default; else its own kernels run them.

        Raises:
            InputError: If the file is missing or damaged, or LiteRT refuses it; or ``threads`` < 1.
            UnsupportedError: If LiteRT is not there, ``simulate`` is asked for, or the file holds custom operators or
                is no classifier of images with one input and one output.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"Model file '{path}' does not exist. Check the path.")
        if threads is not None and threads < 1:
            raise InputError(f"Expected `threads` of at least 1, got {threads}.")
        if simulate:
            raise UnsupportedError("LiteRT runs a .tflite file as it is and has no simulation of it in float.")
        return cls(read_source(path), path, threads=threads or available_cores(), delegate=delegate)

    @property
    def spec(self) -> EngineSpec:
        """The engine's signature."""
        return self._spec

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Score a batch.

        Args:
            batch: (N, *spec.image_shape) of type ``spec.dtype``, N >= 1; normalised where it is float32, else on the
                file's own 8-bit grid, an int8 value v as v + 128.

        Returns:
            (N, classes) float32, contiguous, with the output's scale and zero point applied.

        Raises:
            InputError: If shape or type differ from the spec, or the engine is closed.
            EngineError: If LiteRT fails on the batch.
        """
        fits = len(batch) > 0 and self._spec.fixed_batch in (None, len(batch))
        if batch.dtype != self._dtype or batch.shape[1:] != self._spec.image_shape or not fits:
            raise InputError(self._spec.refusal(batch))
        if self._interpreter is None:
            raise InputError(f"The engine of '{self._path.name}' is closed. Open it again.")
        values = np.ascontiguousarray(batch)
        if self._signed:
            values = (values.view(np.uint8) ^ _SIGN_BIT).view(np.int8)
        try:
            raw = self._run(values)
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"LiteRT failed on a batch of {len(batch)}: {_reason(error)}.") from error
        return self._real(raw.reshape(len(batch), -1))

    def audit(self) -> Audit:
        """Prove from the operator list and the types of its tensors what this engine computes in integers."""
        return audit_source(
            self._source, self._delegated, backend=self._kind, delegate=DELEGATE, identity=self.provenance()
        )

    def provenance(self) -> Mapping[str, Any]:
        """Say as JSON data what runs here."""
        count = len(self._source.operators)
        return {
            "backend": "litert",
            "kind": self._kind,
            "version": _version(),
            "providers": [self._provider],
            "threads": self._threads,
            "optimization": "default resolver" if self._delegate else "resolver without default delegates",
            "delegate": DELEGATE if self._delegated else None,
            "operators_delegated": f"{len(self._delegated)} of {count}",
            "batch": "resized" if self._resizes else f"loop over the file's batch of {self._step}",
            "input_grid": None if self._spec.input_grid is None else list(self._spec.input_grid),
            "output_grid": None if self._output_grid is None else list(self._output_grid),
            "cpu": cpu(),
            "model": self._path.name,
            "model_sha256": self._source.sha256,
            "external_data_sha256": {},
        }

    def close(self) -> None:
        """Free the runtime's memory; a second call does nothing."""
        self._interpreter = None

    @property
    def _kind(self) -> str:
        return "litert" if self._delegate else "litert-builtin"

    @property
    def _provider(self) -> str:
        return f"{DELEGATE} delegate" if self._delegated else "built-in kernels"

    def _build(self) -> Any:
        interpreter, resolvers = _runtime()
        resolver = resolvers.BUILTIN if self._delegate else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            built = interpreter(
                model_content=self._source.content,
                num_threads=self._threads,
                experimental_op_resolver_type=resolver,
            )
            built.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"LiteRT cannot load '{self._path}': {_reason(error)}. Convert the model again."
            ) from error
        return built

    def _run(self, values: NDArray[Any]) -> NDArray[Any]:
        if self._resizes:
            shape = list(values.shape)
            if list(self._interpreter.get_input_details()[0]["shape"]) != shape:
                self._interpreter.resize_tensor_input(self._entry, shape)
                self._interpreter.allocate_tensors()
            return self._once(values)
        return np.concatenate([self._once(values[i : i + self._step]) for i in range(0, len(values), self._step)])

    def _once(self, values: NDArray[Any]) -> NDArray[Any]:
        self._interpreter.set_tensor(self._entry, values)
        self._interpreter.invoke()
        scores: NDArray[Any] = self._interpreter.get_tensor(self._exit)
        return scores

    def _real(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        if self._output_grid is None:
            return np.array(raw, dtype=np.float32)
        scale, zero_point = self._output_grid
        real: NDArray[np.float32] = (raw.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        return real


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(".")


def _version() -> str:
    try:
        return version("ai-edge-litert")
    except PackageNotFoundError:  # a build of one's own
        return "unknown"


def _runtime() -> tuple[Any, Any]:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise UnsupportedError(f"LiteRT is not importable: {error}. Install it with: {INSTALL}") from error
    return Interpreter, OpResolverType
