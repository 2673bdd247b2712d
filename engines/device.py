"""Memory and streams of a GPU, as the TensorRT backend needs them; which package provides them is decided here."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UnsupportedError

PROVIDERS = ("cuda-python", "pycuda")


class Mark(Protocol):
    """A point in a stream."""

    def wait(self) -> None:
        """Wait until the GPU has come here."""

    def milliseconds_since(self, earlier: Any) -> float:
        """Give the GPU's own time between an earlier mark of the same stream and this one; it has passed both."""


class Stream(Protocol):
    """Work that a GPU does in order.

    Attributes:
        handle: The stream as CUDA knows it.
    """

    handle: int

    def upload(self, pointer: int, values: NDArray[Any]) -> None:
        """Copy pinned memory to the GPU."""

    def download(self, values: NDArray[Any], pointer: int) -> None:
        """Copy from the GPU to pinned memory."""

    def mark(self) -> Mark:
        """Set a mark behind the work so far."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` enqueues as a CUDA graph, and give the function that launches it.

        Raises:
            UnsupportedError: If the package behind the stream has no graphs.
        """


class DeviceMemory(Protocol):
    """Memory of one GPU, held until it is closed."""

    def allocate(self, size_bytes: int) -> int:
        """Give the address of that many bytes on the GPU."""

    def pinned(self, size_bytes: int) -> NDArray[np.uint8]:
        """Give that many bytes of page-locked memory on the host."""

    def stream(self) -> Stream:
        """Give a stream."""

    def close(self) -> None:
        """Free everything; a second call does nothing."""


def provider() -> str:
    """Name the package that will be used: ``cuda-python`` where it is installed, else ``pycuda``.

    Raises:
        UnsupportedError: If neither is installed.
    """
    if _installed("cuda.bindings.driver"):
        return PROVIDERS[0]
    if _installed("pycuda.driver"):
        return PROVIDERS[1]
    raise UnsupportedError("Neither cuda-python nor pycuda is installed")


def open_device(name: str | None = None) -> DeviceMemory:
    """Open the first GPU's memory.

    Args:
        name: ``cuda-python`` or ``pycuda``; None for what is installed.

    Raises:
        UnsupportedError: If the package is not installed or does not start.
    """
    name = name or provider()
    try:
        if name == "pycuda":
            from .device_pycuda import PycudaMemory

            return PycudaMemory()
        from .device_cuda import CudaMemory

        return CudaMemory()
    except UnsupportedError:
        raise
    except Exception as error:  # both packages fail in their own ways without a driver
        raise UnsupportedError(
            f"{name} does not work here: {str(error).rstrip('.')}. Check the driver with nvidia-smi."
        ) from error


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package is missing or broken
        return False
