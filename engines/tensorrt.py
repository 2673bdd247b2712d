"""TensorRT as a backend: runs plans. A plan is native code; the catalog opens it in a child, by its hash alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.artifact import read_card
from ..core.errors import EngineError, InputError, UnsupportedError
from ..core.files import sha256_bytes
from ..core.provenance import cpu
from .audit import Audit
from .device import DeviceMemory, open_device, provider
from .protocol import Batch, EngineSpec
from .tensorrt_audit import audit_inspector
from .tensorrt_module import Complaints, Ready, ready, start
from .tensorrt_plan import Limits, check_card, read_limits, read_spec, unloadable
from .tensorrt_slots import Slots


class TensorRtEngine:
    """A classifier in a TensorRT plan, executed on the first GPU.

    Build it with :meth:`open`. Batches beyond the plan's largest are cut; the host fills one pinned buffer while the
    GPU works on the other.
    """

    def __init__(self, path: Path, here: Ready, memory: DeviceMemory, *, graph: bool) -> None:
        self._path, self._here, self._memory, self._graph = path, here, memory, graph
        content, card = path.read_bytes(), read_card(path)
        self._sha256 = sha256_bytes(content)
        check_card(card, here, path)
        trt = here.trt
        self._complaints = Complaints(trt)
        runtime = start(lambda: trt.Runtime(self._complaints.logger), here, self._complaints)
        runtime.engine_host_code_allowed = False
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise unloadable(path, here, self._complaints.sentence())
        self._runtime, self._engine = runtime, engine
        self._spec = read_spec(trt, engine, path, card)
        self._limits = read_limits(engine, self._spec)
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"TensorRT has no memory to run '{path}': {self._complaints.sentence()}.")
        self._slots: Slots | None = Slots(trt, engine, self._context, memory, self._spec, self._limits, graph=graph)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        threads: int | None = None,
        simulate: bool = False,
        graph: bool = False,
        memory: DeviceMemory | None = None,
    ) -> TensorRtEngine:
        """Open a plan on the first GPU.

        Args:
            path: The ``.plan`` or ``.engine`` file.
            threads: Has no meaning on a GPU; not used.
            simulate: Not offered: a plan has no Q/DQ left.
            graph: Launch each batch size as one CUDA graph.
            memory: Device memory to use; None opens the first GPU's.

        Raises:
            UnsupportedError: If there is no GPU or module, the plan is for another GPU or version, it is no classifier
                of images, or a simulation is asked for.
            InputError: If the file is missing or no plan.
            EngineError: If the GPU's memory does not suffice.
        """
        path = Path(path)
        if simulate:
            raise UnsupportedError("A plan holds no Q/DQ to simulate. Name the file it is of: simulation:MODEL.onnx")
        if not path.is_file():
            raise InputError(f"Model file '{path}' does not exist. Check the path.")
        here = ready()
        return cls(path, here, memory or open_device(), graph=graph)

    @property
    def spec(self) -> EngineSpec:
        """The engine's signature."""
        return self._spec

    @property
    def limits(self) -> Limits:
        """The batches the plan was built for."""
        return self._limits

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Score a batch; see ``Engine.infer``.

        Raises:
            InputError: If shape or type differ from the spec, or the engine is closed.
            EngineError: If the GPU fails.
        """
        return self._open_slots(batch).scores(batch)

    def device_milliseconds(self, batch: NDArray[Any], runs: int) -> list[float]:
        """Time runs of one batch by CUDA events: the kernels alone, without copies.

        Args:
            batch: As for `infer`, at most the plan's largest batch.
            runs: Number of timed runs, behind a tenth as many that are not.
        """
        return self._open_slots(batch).kernel_milliseconds(batch, runs)

    def audit(self) -> Audit:
        """Prove from the engine inspector what this plan computes in integers."""
        trt, context = self._here.trt, self._context
        if self._slots is None:
            raise InputError(f"The engine of '{self._path.name}' is closed. Open it again.")
        self._slots.set_batch(self._limits.best)
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = context  # without it, tensors of an open batch have no format
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        return audit_inspector(str(text), identity=self.provenance())

    def provenance(self) -> Mapping[str, Any]:
        """Say as JSON data what runs here."""
        gpu = self._here.gpu
        return {
            "backend": "tensorrt",
            "kind": "tensorrt-graph" if self._graph else "tensorrt",
            "version": self._here.version,
            "providers": [f"{gpu.name}, compute capability {gpu.capability}"],
            "optimization": "as built",
            "gpu": gpu.to_json(),
            "device_memory": provider(),
            "batch": [self._limits.smallest, self._limits.best, self._limits.largest],
            "host_code_allowed": False,
            "cpu": cpu(),
            "model": self._path.name,
            "model_sha256": self._sha256,
            "external_data_sha256": {},
        }

    def close(self) -> None:
        """Free the GPU's memory; a second call does nothing."""
        if self._slots is not None:
            self._slots = self._context = self._engine = self._runtime = None
            self._memory.close()

    def _open_slots(self, batch: NDArray[Any]) -> Slots:
        spec, count = self._spec, len(batch)
        if batch.dtype != spec.dtype or batch.shape[1:] != spec.image_shape or not count:
            raise InputError(spec.refusal(batch))
        if spec.fixed_batch not in (None, count):
            raise InputError(spec.refusal(batch))
        if self._slots is None:
            raise InputError(f"The engine of '{self._path.name}' is closed. Open it again.")
        return self._slots
