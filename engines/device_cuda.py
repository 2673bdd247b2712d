"""Device memory by NVIDIA's own bindings, ``cuda-python``. Written against 13.x and 12.6+."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import EngineError


class CudaMemory:
    """Memory of the first GPU in its primary context."""

    def __init__(self) -> None:
        from cuda.bindings import driver

        self._driver: Any = driver
        _value(driver.cuInit(0))
        self._device = _value(driver.cuDeviceGet(0))
        context = _value(driver.cuDevicePrimaryCtxRetain(self._device))
        _value(driver.cuCtxSetCurrent(context))
        self._frees: list[Callable[[], Any]] = [lambda: driver.cuDevicePrimaryCtxRelease(self._device)]

    def allocate(self, size_bytes: int) -> int:
        """Give the address of that many bytes on the GPU."""
        pointer = _value(self._driver.cuMemAlloc(size_bytes))
        self._frees.append(lambda: self._driver.cuMemFree(pointer))
        return int(pointer)

    def pinned(self, size_bytes: int) -> NDArray[np.uint8]:
        """Give that many bytes of page-locked memory on the host."""
        address = _value(self._driver.cuMemAllocHost(size_bytes))
        self._frees.append(lambda: self._driver.cuMemFreeHost(address))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(int(address)))

    def stream(self) -> CudaStream:
        """Give a stream that does not wait for others."""
        flags = self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        stream = _value(self._driver.cuStreamCreate(flags))
        self._frees.append(lambda: self._driver.cuStreamDestroy(stream))
        return CudaStream(self._driver, stream)

    def close(self) -> None:
        """Free everything in reverse order; a second call does nothing."""
        while self._frees:
            self._frees.pop()()


class CudaStream:
    """A stream of the driver."""

    def __init__(self, driver: Any, stream: Any) -> None:
        self._driver, self._stream = driver, stream
        self.handle = int(stream)

    def upload(self, pointer: int, values: NDArray[Any]) -> None:
        """Copy pinned memory to the GPU."""
        _value(self._driver.cuMemcpyHtoDAsync(pointer, values.ctypes.data, values.nbytes, self._stream))

    def download(self, values: NDArray[Any], pointer: int) -> None:
        """Copy from the GPU to pinned memory."""
        _value(self._driver.cuMemcpyDtoHAsync(values.ctypes.data, pointer, values.nbytes, self._stream))

    def mark(self) -> CudaMark:
        """Set a mark behind the work so far."""
        return CudaMark(self._driver, self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` enqueues as a CUDA graph, and give the function that launches it."""
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        _value(self._driver.cuStreamBeginCapture(self._stream, mode))
        try:
            work()
        finally:
            graph = _value(self._driver.cuStreamEndCapture(self._stream))
        try:
            return CudaGraph(self._driver, self._stream, _value(self._driver.cuGraphInstantiate(graph, 0)))
        finally:
            self._driver.cuGraphDestroy(graph)


class CudaGraph:
    """A recorded piece of work; a call launches it."""

    def __init__(self, driver: Any, stream: Any, executable: Any) -> None:
        self._driver, self._stream, self._executable = driver, stream, executable

    def __call__(self) -> None:
        """Launch it."""
        _value(self._driver.cuGraphLaunch(self._executable, self._stream))

    def __del__(self) -> None:
        self._driver.cuGraphExecDestroy(self._executable)


class CudaMark:
    """An event of the driver."""

    def __init__(self, driver: Any, stream: Any) -> None:
        self._driver = driver
        self._event = _value(driver.cuEventCreate(driver.CUevent_flags.CU_EVENT_DEFAULT))
        _value(driver.cuEventRecord(self._event, stream))

    def wait(self) -> None:
        """Wait until the GPU has come here."""
        _value(self._driver.cuEventSynchronize(self._event))

    def milliseconds_since(self, earlier: CudaMark) -> float:
        """Give the GPU's own time between two points it has passed."""
        return float(_value(self._driver.cuEventElapsedTime(earlier._event, self._event)))

    def __del__(self) -> None:
        if hasattr(self, "_event"):
            self._driver.cuEventDestroy(self._event)


def _value(answer: tuple[Any, ...]) -> Any:
    """Give what a call returned behind its error code."""
    if int(answer[0]):
        raise EngineError(f"CUDA failed: {answer[0].name}. The GPU may be out of memory, lost, or used by others.")
    return answer[1] if len(answer) > 1 else None
