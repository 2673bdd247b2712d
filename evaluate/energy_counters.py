"""The counters of energy that a machine has: RAPL of the processors, NVML of NVIDIA GPUs. Reads them, measures nothing.

Reference:
    Linux, "Power Capping Framework" (`/sys/class/powercap`); NVML API, `nvmlDeviceGetTotalEnergyConsumption`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
_NVML = "libnvidia-ml.so.1"
_MICRO_PER_MILLI = 1000


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A counter of energy that only grows, until it starts at zero again.

    Attributes:
        name: What it counts.
        read: Gives the microjoules so far.
        range_uj: Microjoules at which it starts again; None where it never does.
    """

    name: str
    read: Callable[[], int]
    range_uj: int | None = None

    def between(self, before: int, after: int) -> float:
        """Give the joules between two readings that lie less than one range apart."""
        rest = after - before
        return (rest + (self.range_uj or 0) if rest < 0 else rest) / 1e6


@dataclass(frozen=True, kw_only=True)
class Source:
    """The counters of one kind of device.

    Attributes:
        name: ``RAPL`` or ``NVML``.
        counters: What can be read; together they cover the devices once.
        reason: Why nothing can be read; empty where something can.
    """

    name: str
    counters: tuple[Counter, ...] = ()
    reason: str = ""


def find_sources(powercap: Path = POWERCAP, load: Callable[[str], Any] = ctypes.CDLL) -> tuple[Source, ...]:
    """Give the processors' counters, and those of the GPUs where there is an NVIDIA driver.

    Args:
        powercap: Folder of the kernel's power zones.
        load: Loads a shared library by its name.
    """
    gpus = nvml(load)
    return (rapl(powercap), *(() if gpus is None else (gpus,)))


def rapl(powercap: Path) -> Source:
    """Find the zones of whole packages, and of memory beside them; other zones are parts of these or contain them."""
    names = {zone: _name(zone) for zone in sorted(powercap.glob("intel-rapl:*"))}
    zones = [zone for zone, name in names.items() if name == "dram" or name.startswith("package-")]
    if not zones:
        return Source(name="RAPL", reason=f"{powercap} has no zone of a processor package")
    try:
        return Source(name="RAPL", counters=tuple(_zone(zone, names[zone]) for zone in zones))
    except PermissionError:
        return Source(
            name="RAPL", reason=f"{zones[0]}/energy_uj may not be read: run as root, or let your group read it"
        )
    except (OSError, ValueError) as error:
        return Source(name="RAPL", reason=f"{zones[0]} cannot be read: {error}")


def _zone(zone: Path, name: str) -> Counter:
    def read() -> int:
        return int((zone / "energy_uj").read_text())

    read()
    return Counter(name=name, read=read, range_uj=int((zone / "max_energy_range_uj").read_text()))


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def nvml(load: Callable[[str], Any]) -> Source | None:
    """Find the counters of the GPUs; None where there is no driver."""
    try:
        library = load(_NVML)
    except OSError:
        return None
    count = ctypes.c_uint()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return Source(name="NVML", reason="the NVIDIA driver does not start")
    try:
        return Source(name="NVML", counters=tuple(_gpu(library, index) for index in range(count.value)))
    except OSError as error:
        return Source(name="NVML", reason=str(error))


def _gpu(library: Any, index: int) -> Counter:
    handle = ctypes.c_void_p()
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)):
        raise OSError(f"GPU {index} does not answer")

    def read() -> int:
        millijoules = ctypes.c_ulonglong()
        code = library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        if code:
            raise OSError(f"GPU {index} does not count its energy (NVML error {code})")
        return millijoules.value * _MICRO_PER_MILLI

    read()
    return Counter(name=f"GPU {index}", read=read)
