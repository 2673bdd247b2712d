"""Two pinned buffers that take turns: the host fills one while the GPU works on the other. The kernels' clock too."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import EngineError
from .device import DeviceMemory, Mark, Stream
from .protocol import EngineSpec
from .tensorrt_plan import Limits

_SLOTS = 2


class _Slot:
    """Buffers for one batch on both sides, and what is under way in them."""

    def __init__(self, memory: DeviceMemory, spec: EngineSpec, largest: int) -> None:
        input_type = np.dtype(spec.dtype)
        input_bytes = largest * int(np.prod(spec.image_shape)) * input_type.itemsize
        self.input_pointer, self.output_pointer = (
            memory.allocate(input_bytes),
            memory.allocate(4 * largest * spec.classes),
        )
        self.images = memory.pinned(input_bytes).view(input_type).reshape(largest, *spec.image_shape)
        self.scores = memory.pinned(4 * largest * spec.classes).view(np.float32).reshape(largest, spec.classes)
        self.done: Mark | None = None
        self.target: NDArray[np.float32] | None = None

    def collect(self) -> None:
        """Wait for what is under way and hand its scores out."""
        if self.done is not None and self.target is not None:
            self.done.wait()
            self.target[...] = self.scores[: len(self.target)]
        self.done = self.target = None


class Slots:
    """Feeds one execution context of TensorRT through one stream.

    With graphs there is one slot and one graph, captured anew when the batch size changes: TensorRT leaves undefined
    what a graph does once the context it was captured from has been changed.
    """

    def __init__(
        self,
        trt: Any,
        engine: Any,
        context: Any,
        memory: DeviceMemory,
        spec: EngineSpec,
        limits: Limits,
        *,
        graph: bool,
    ) -> None:
        self._context, self._spec, self._limits, self._graph = context, spec, limits, graph
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._output = next(n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT)
        self._stream: Stream = memory.stream()
        self._slots = [_Slot(memory, spec, limits.largest) for _ in range(1 if graph else _SLOTS)]
        self._captured: tuple[int, Callable[[], None]] | None = None

    def scores(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Score a batch of any size, piece by piece.

        Args:
            batch: (N, *image_shape) of the engine's type, N >= 1.

        Returns:
            (N, classes) float32.
        """
        found = np.empty((len(batch), self._spec.classes), np.float32)
        slots = cycle(self._slots)
        try:
            for start in range(0, len(batch), self._limits.largest):
                slot = next(slots)
                slot.collect()
                self._begin(slot, batch[start : start + self._limits.largest])
                slot.target = found[start : start + self._limits.largest]
            for _ in self._slots:
                next(slots).collect()
        except BaseException:
            for slot in self._slots:  # nothing of this batch may reach the next one
                slot.done = slot.target = None
            raise
        return found

    def kernel_milliseconds(self, batch: NDArray[Any], runs: int) -> list[float]:
        """Time the kernels of one batch by events."""
        slot, count = self._slots[0], self._fill(self._slots[0], batch)
        self._stream.upload(slot.input_pointer, slot.images[:count])
        times = []
        for _ in range(runs + -(-runs // 10)):
            before = self._stream.mark()
            self._compute(slot, count)
            after = self._stream.mark()
            after.wait()
            times.append(after.milliseconds_since(before))
        return times[-runs:]

    def set_batch(self, count: int) -> None:
        """Tell the context how many images it is to be looked at with.

        Raises:
            EngineError: If the plan does not take as many.
        """
        self._captured = None
        self._tell(count)

    def _tell(self, count: int) -> None:
        shape = (count, *self._spec.image_shape)
        if self._spec.fixed_batch is None and not self._context.set_input_shape(self._spec.input_name, shape):
            raise EngineError(f"The plan takes no batch of {count}, though its profile says so. Build it again.")

    def _begin(self, slot: _Slot, images: NDArray[Any]) -> None:
        count = self._fill(slot, images)
        self._stream.upload(slot.input_pointer, slot.images[:count])
        self._compute(slot, count)
        self._stream.download(slot.scores[:count], slot.output_pointer)
        slot.done = self._stream.mark()

    def _fill(self, slot: _Slot, images: NDArray[Any]) -> int:
        """Copy images into pinned memory, filled up to the smallest batch with the first of them."""
        count = max(len(images), self._limits.smallest)
        slot.images[: len(images)] = images
        slot.images[len(images) : count] = images[0]
        return count

    def _compute(self, slot: _Slot, count: int) -> None:
        if not self._graph:
            self._enqueue(slot, count)
            return
        if self._captured is None or self._captured[0] != count:
            self._enqueue(slot, count)  # the first run of a shape may allocate, which no capture survives
            self._stream.mark().wait()
            launch = self._stream.capture(lambda: self._enqueue(slot, count))
            self._captured = (count, launch)
        self._captured[1]()

    def _enqueue(self, slot: _Slot, count: int) -> None:
        context = self._context
        self._tell(count)
        context.set_tensor_address(self._spec.input_name, slot.input_pointer)
        context.set_tensor_address(self._output, slot.output_pointer)
        if not context.execute_async_v3(self._stream.handle):
            raise EngineError(f"TensorRT could not start a batch of {count}. The GPU may be out of memory or lost.")
