"""Counters of a made-up machine: a tree like the kernel's, and a stand-in for NVIDIA's library."""

import ctypes
from pathlib import Path

import pytest

from robustmq_trt.evaluate.energy_counters import Counter, find_sources, nvml, rapl

ZONES = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "core",
    "intel-rapl:0:1": "dram",
    "intel-rapl:1": "psys",
    "intel-rapl-mmio:0": "package-0",
}


def no_library(name: str) -> None:
    raise OSError(name)


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    for number, (zone, name) in enumerate(ZONES.items()):
        folder = tmp_path / zone
        folder.mkdir()
        for file, text in {
            "name": name,
            "energy_uj": str(1000 + number),
            "max_energy_range_uj": "262143328850",
        }.items():
            (folder / file).write_text(f"{text}\n")
    return tmp_path


def test_packages_and_memory_are_counted_once(powercap: Path):
    (source,) = find_sources(powercap, no_library)

    assert [counter.name for counter in source.counters] == ["package-0", "dram"]
    assert [counter.read() for counter in source.counters] == [1000, 1002]
    assert source.counters[0].range_uj == 262143328850


def test_a_counter_that_started_anew_is_read_over_the_edge():
    counter = Counter(name="package-0", read=lambda: 0, range_uj=262_143_000_000)

    assert counter.between(262_142_000_000, 500_000) == pytest.approx(1.5)
    assert counter.between(1_000_000, 3_500_000) == 2.5


def test_a_machine_without_zones_says_so(tmp_path: Path):
    source = rapl(tmp_path / "absent")

    assert source.counters == ()
    assert "no zone of a processor package" in source.reason


def test_a_zone_for_root_alone_says_what_to_do(powercap: Path, monkeypatch: pytest.MonkeyPatch):
    plain = Path.read_text

    def guarded(path: Path) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "denied")
        return plain(path)

    monkeypatch.setattr(Path, "read_text", guarded)

    assert "run as root" in rapl(powercap).reason


@pytest.mark.parametrize("text", ["", "many"])
def test_a_zone_that_holds_no_number_is_a_reason(powercap: Path, text: str):
    (powercap / "intel-rapl:0" / "energy_uj").write_text(text)

    assert "cannot be read" in rapl(powercap).reason


class Library:
    """Two GPUs, 5 J and 7 J so far; a code other than 0 fails every reading."""

    def __init__(self, *, init: int = 0, energy: int = 0) -> None:
        self._init, self._energy = init, energy

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return self._init

    def nvmlDeviceGetCount_v2(self, count) -> int:  # noqa: N802
        ctypes.cast(count, ctypes.POINTER(ctypes.c_uint))[0] = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle) -> int:  # noqa: N802
        ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[0] = index.value + 1
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, millijoules) -> int:  # noqa: N802
        ctypes.cast(millijoules, ctypes.POINTER(ctypes.c_ulonglong))[0] = {1: 5000, 2: 7000}[handle.value]
        return self._energy


def test_gpus_are_read_in_microjoules():
    source = nvml(lambda name: Library())

    assert source is not None
    assert [(counter.name, counter.read()) for counter in source.counters] == [
        ("GPU 0", 5_000_000),
        ("GPU 1", 7_000_000),
    ]


@pytest.mark.parametrize(
    ("library", "reason"),
    [(Library(init=9), "does not start"), (Library(energy=3), "GPU 0 does not count its energy (NVML error 3)")],
)
def test_gpus_that_tell_nothing_are_a_reason(library: Library, reason: str):
    source = nvml(lambda name: library)

    assert source is not None
    assert source.counters == ()
    assert reason in source.reason


def test_without_a_driver_there_is_no_source():
    assert nvml(no_library) is None
