"""Is there a GPU that can be used? Asked of the driver alone, before any library that would crash without one."""

from __future__ import annotations

import ctypes
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import UnsupportedError

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NAME_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The GPU that engines run on: the first visible one.

    Attributes:
        name: As the driver calls it.
        capability: Compute capability, e.g. ``9.0``.
        cuda: Newest CUDA version the driver runs, e.g. ``12.8``.
    """

    name: str
    capability: str
    cuda: str

    def to_json(self) -> dict[str, Any]:
        """Give the GPU as JSON data."""
        return asdict(self)


def find_gpu() -> Gpu:
    """Ask the driver for the first GPU.

    Raises:
        UnsupportedError: If there is no driver, it does not start, or it sees no GPU.
    """
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise UnsupportedError(
            f"No NVIDIA driver: {_LIBRARY} cannot be loaded. Run this on a machine with an NVIDIA GPU."
        ) from error
    _check(driver.cuInit(0), "the NVIDIA driver does not start")
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _check(driver.cuDeviceGetCount(ctypes.byref(count)), "the NVIDIA driver does not count its GPUs")
    if not count.value:
        raise UnsupportedError("The NVIDIA driver sees no GPU. Check CUDA_VISIBLE_DEVICES.")
    _check(driver.cuDeviceGet(ctypes.byref(device), 0), "the first GPU does not answer")
    _check(driver.cuDriverGetVersion(ctypes.byref(version)), "the NVIDIA driver has no version")
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _check(driver.cuDeviceGetName(name, _NAME_BYTES, device), "the first GPU has no name")
    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=f"{_attribute(driver, _MAJOR, device)}.{_attribute(driver, _MINOR, device)}",
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def _attribute(driver: Any, attribute: int, device: Any) -> int:
    value = ctypes.c_int()
    _check(driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), "the first GPU has no capability")
    return value.value


def _check(code: int, what: str) -> None:
    if code:
        raise UnsupportedError(f"No usable GPU: {what} (CUDA driver error {code}). Check it with nvidia-smi.")
