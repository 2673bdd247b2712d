"""An engine in a process of its own: it may crash or hang, the run that asks it goes on."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import EngineError, InputError, RobustMQError, UnsupportedError
from .audit import Audit
from .child_process import ChildProcess
from .child_wire import after
from .protocol import Batch, EngineSpec

OPENER = "robustmq_trt.engines.catalog:open_here"
_RESTARTS = 2
_AHEAD = 2  # batches under way: one computed, one waiting
_MAX_CLASSES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """How an engine is kept apart.

    Attributes:
        call_seconds: Time one batch may take before the child is ended.
        open_seconds: Time that opening and auditing may take.
        memory_bytes: Private memory of the child, or None for four fifths of the machine's.
    """

    call_seconds: float = 60.0
    open_seconds: float = 300.0
    memory_bytes: int | None = None


@dataclass(frozen=True)
class _Flight:
    """Where a batch under way lies in the shared memory: it begins, its scores begin, both end; and their shape."""

    begin: int
    scores: int
    end: int
    shape: tuple[int, int]


class ChildEngine:
    """An engine behind a process boundary, with the five members of one without; it is `Pipelined` besides.

    A child that crashed, hung or answered nonsense is ended and reported as an `EngineError`; the next batch starts a
    new one, up to twice in a row. Build it with :meth:`open`.
    """

    def __init__(
        self, arguments: Mapping[str, Any], *, name: str, files: Mapping[str, bytes], limits: Isolation
    ) -> None:
        self._arguments, self._name, self._files, self._limits = arguments, name, files, limits
        self._failures = 0
        self._closed = False
        self._flights: list[_Flight] = []
        self._child = self._start()
        self._spec, self._provenance = self._begin()
        self._dtype, self._shape = np.dtype(self._spec.dtype), self._spec.image_shape

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        backend: str,
        threads: int | None = None,
        simulate: bool = False,
        limits: Isolation | None = None,
        files: Mapping[str, bytes] | None = None,
        operators: Sequence[str] = (),
        opener: str = OPENER,
    ) -> ChildEngine:
        """Open a model file in a child process.

        Args:
            path: The model file; the name alone where its content is among ``files``.
            backend: Name of the backend in the catalog.
            threads: Threads inside one inference; None takes every core.
            simulate: Run Q/DQ in float.
            limits: Deadlines and memory.
            files: Name to content of files to be put into the child's own folder, out of anybody's reach.
            operators: Names among ``files`` of libraries with custom operators.
            opener: ``module:function`` of the child that gives an engine for backend, path, threads, the switch and the
                libraries.

        Raises:
            EngineError: If the child crashes, hangs or answers nonsense.
            UnsupportedError: If this system can't pass file descriptors to a child.
            RobustMQError: Whatever the engine says at its door.
        """
        if os.name != "posix":
            raise UnsupportedError(
                "Engines in child processes need Linux or another POSIX system. Leave --isolate out."
            )
        path, files = Path(path), files or {}
        arguments = {
            "opener": opener,
            "backend": backend,
            "path": path.name if path.name in files else str(path.absolute()),
            "threads": threads,
            "simulate": simulate,
            "operators": list(operators),
        }
        return cls(arguments, name=path.name, files=files, limits=limits or Isolation())

    @property
    def spec(self) -> EngineSpec:
        """The engine's signature."""
        return self._spec

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Score a batch.

        Args:
            batch: (N, *spec.image_shape) of type ``spec.dtype``, already normalised, N >= 1.

        Returns:
            (N, classes) float32, contiguous; values that are not finite are handed out as they are.

        Raises:
            InputError: If shape or type differ from the spec, or the engine is closed.
            EngineError: If the child crashed, passed its deadline, or its scores have another shape.
        """
        self._settle()
        self.submit(batch)
        return self.collect()[0]

    def submit(self, batch: Batch) -> None:
        """Hand over a batch; the child begins with it as soon as it has answered the one before.

        Args:
            batch: As for :meth:`infer`; it may be changed afterwards.

        Raises:
            InputError: If shape or type differ from the spec, the engine is closed, or two batches are under way.
            EngineError: If the child is gone; every batch under way is lost then.
        """
        fixed = self._spec.fixed_batch
        if (
            batch.dtype != self._dtype
            or batch.shape[1:] != self._shape
            or not len(batch)
            or fixed not in (None, len(batch))
        ):
            raise InputError(self._spec.refusal(batch))
        child = self._living()
        if len(self._flights) == _AHEAD:
            raise InputError(f"Expected at most {_AHEAD} batches under way at once. Collect one first.")
        try:
            flight = self._put(child, batch)
            child.post("infer", {"shape": list(batch.shape), "dtype": str(batch.dtype), "offset": flight.begin})
        except EngineError:
            self._settle()
            raise
        self._flights.append(flight)

    def collect(self) -> tuple[NDArray[np.float32], int]:
        """Wait for the oldest batch under way.

        Returns:
            Its scores as :meth:`infer` gives them, and the nanoseconds that the child's engine computed.

        Raises:
            InputError: If no batch is under way.
            EngineError: If the child crashed, passed its deadline, or its scores have another shape; every batch under
                way is lost then.
        """
        if not self._flights:
            raise InputError("No batch is under way. Submit one first.")
        flight = self._flights.pop(0)
        try:
            answered = self._child.answer("infer", seconds=self._limits.call_seconds)
            shape, ns = _answered(answered)
            if shape != flight.shape:
                raise EngineError(f"'{self._name}' gave scores of shape {list(shape)}, expected {list(flight.shape)}.")
        except RobustMQError:
            self._settle()
            raise
        self._failures = 0
        return np.array(self._child.block.array(shape, np.float32, flight.scores)), ns

    def audit(self) -> Audit:
        """Prove in the child what the engine computes in integers.

        Raises:
            EngineError: If the child crashed, passed its deadline, or gave no audit.
        """
        self._settle()
        self._living()
        document = self._call("audit", {}, self._limits.open_seconds)
        try:
            return Audit.from_json(document)
        except (TypeError, KeyError, ValueError) as error:
            raise EngineError(f"'{self._name}' gave an audit that is none: {error}.") from error

    def provenance(self) -> Mapping[str, Any]:
        """Say as JSON data what runs in the child."""
        limits = {"call_seconds": self._limits.call_seconds, "open_seconds": self._limits.open_seconds}
        return {**self._provenance, "isolated": limits}

    def close(self) -> None:
        """End the child; a second call does nothing."""
        self._closed = True
        self._child.kill()

    def _put(self, child: ChildProcess, batch: NDArray[Any]) -> _Flight:
        """Lay a batch into the shared memory: before the one that is under way if it fits there, else behind it."""
        shape = len(batch), self._spec.classes
        size = after(batch.nbytes) + after(4 * math.prod(shape))
        begin = next((flight.end for flight in self._flights if flight.begin < size), 0)
        flight = _Flight(begin, begin + after(batch.nbytes), begin + size, shape)
        try:
            child.block.grow(flight.end)
            child.block.array(batch.shape, batch.dtype, begin)[...] = batch
        except (OSError, ValueError) as error:  # a child can forbid that its memory grows
            child.kill()
            raise EngineError(f"The memory shared with '{self._name}' can't be used: {error}.") from error
        return flight

    def _settle(self) -> None:
        """Forget the batches under way: a run that failed left them."""
        self._flights.clear()
        self._child.drop(seconds=self._limits.call_seconds)

    def _start(self) -> ChildProcess:
        return ChildProcess(self._name, files=self._files, memory_bytes=self._limits.memory_bytes)

    def _living(self) -> ChildProcess:
        """Give the child, a new one where the last one is dead."""
        if self._closed:
            raise InputError(f"The engine of '{self._name}' is closed. Open it again.")
        if not self._child.alive:
            if self._failures >= _RESTARTS:
                raise EngineError(f"'{self._name}' died {self._failures + 1} times in a row and is not started again.")
            self._failures += 1
            self._child.kill()
            self._flights.clear()
            self._child = self._start()
            if self._begin()[0] != self._spec:
                self.close()
                raise EngineError(f"'{self._name}' has another signature than before it died. Open it again.")
        return self._child

    def _begin(self) -> tuple[EngineSpec, Mapping[str, Any]]:
        try:
            opened = self._call("open", self._arguments, self._limits.open_seconds)
            spec, provenance = _spec(opened["spec"]), dict(opened["provenance"])
            if not 0 < spec.classes <= _MAX_CLASSES:
                raise ValueError(f"{spec.classes} classes")
        except (TypeError, KeyError, ValueError) as error:
            self._child.kill()
            raise EngineError(f"'{self._name}' described itself in an unknown way: {error}.") from error
        except BaseException:
            self._child.kill()
            raise
        return spec, provenance

    def _call(self, name: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        return self._child.call(name, arguments, seconds=seconds)


def _answered(answer: Any) -> tuple[tuple[int, ...], int]:
    """Read what a child says of a batch; nothing that it says is trusted."""
    try:
        return tuple(int(n) for n in answer["shape"]), int(answer["ns"])
    except (TypeError, KeyError, ValueError) as error:
        raise EngineError(f"The child described its scores in an unknown way: {error}.") from error


def _spec(document: Mapping[str, Any]) -> EngineSpec:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in document.items()}
    return EngineSpec(**values)
