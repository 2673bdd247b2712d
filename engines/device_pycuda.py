"""Device memory by pycuda, for users who have it. No CUDA graphs: pycuda's streams don't record them everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UnsupportedError


class PycudaMemory:
    """Memory of the first GPU in its primary context."""

    def __init__(self) -> None:
        from pycuda import driver

        self._driver: Any = driver
        driver.init()
        self._context: Any = driver.Device(0).retain_primary_context()
        self._context.push()
        self._held: list[Any] = []

    def allocate(self, size_bytes: int) -> int:
        """Give the address of that many bytes on the GPU."""
        memory = self._driver.mem_alloc(size_bytes)
        self._held.append(memory)
        return int(memory)

    def pinned(self, size_bytes: int) -> NDArray[np.uint8]:
        """Give that many bytes of page-locked memory on the host."""
        memory: NDArray[np.uint8] = self._driver.pagelocked_empty(size_bytes, np.uint8)
        return memory

    def stream(self) -> PycudaStream:
        """Give a stream."""
        return PycudaStream(self._driver, self._driver.Stream())

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        while self._held:
            self._held.pop().free()
        if self._context is not None:
            self._context.pop()
        self._context = None


class PycudaStream:
    """A stream of pycuda."""

    def __init__(self, driver: Any, stream: Any) -> None:
        self._driver, self._stream = driver, stream
        self.handle = int(stream.handle)

    def upload(self, pointer: int, values: NDArray[Any]) -> None:
        """Copy pinned memory to the GPU."""
        self._driver.memcpy_htod_async(pointer, values, self._stream)

    def download(self, values: NDArray[Any], pointer: int) -> None:
        """Copy from the GPU to pinned memory."""
        self._driver.memcpy_dtoh_async(values, pointer, self._stream)

    def mark(self) -> PycudaMark:
        """Set a mark behind the work so far."""
        return PycudaMark(self._driver.Event().record(self._stream))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Refuse: CUDA graphs need the other package.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "CUDA graphs need cuda-python. Install it, or use the backend `tensorrt` without graphs."
        )


class PycudaMark:
    """An event of pycuda."""

    def __init__(self, event: Any) -> None:
        self._event = event

    def wait(self) -> None:
        """Wait until the GPU has come here."""
        self._event.synchronize()

    def milliseconds_since(self, earlier: PycudaMark) -> float:
        """Give the GPU's own time between two points it has passed."""
        return float(self._event.time_since(earlier._event))
