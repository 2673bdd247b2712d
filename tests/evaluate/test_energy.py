"""Joules per image by counters that advance with a made-up clock."""

import math

import pytest

from robustmq_trt.core.errors import EngineError
from robustmq_trt.evaluate.energy import ELSEWHERE, measure_energy
from robustmq_trt.evaluate.energy_counters import Counter, Source
from robustmq_trt.evaluate.stopwatch import Budget, Work

SECOND = 1_000_000_000
BUDGET = Budget(rounds=4)


class Machine:
    """Its clock and its counter advance with every call; 2 s and 6 J for one of `big`, 1 s and 1 J for `small`."""

    def __init__(self) -> None:
        self.now = self.energy = 0
        self.calls: list[str] = []

    def work(self, name: str, seconds: int, joules: int, images: int) -> Work:
        def call() -> None:
            self.calls.append(name)
            self.now += seconds * SECOND
            self.energy += joules * 1_000_000

        return Work(call=call, images=images, seconds=4.0, min_calls=1)

    @property
    def works(self) -> dict[str, Work | str]:
        return {"big": self.work("big", 2, 6, 8), "small": self.work("small", 1, 1, 4), "far": ELSEWHERE}

    def source(self) -> Source:
        return Source(name="RAPL", counters=(Counter(name="package-0", read=lambda: self.energy),))


def measured(machine: Machine, *sources: Source):
    return measure_energy(machine.works, sources, budget=BUDGET, clock=lambda: machine.now)


def test_joules_are_those_of_the_calls_between_the_readings():
    big, small, _ = measured(machine := Machine(), machine.source())

    assert big.per_image is not None
    assert small.per_image is not None
    assert (big.per_image.value, big.per_image.n) == (6 / 8, 4 * 2 * 8)  # 4 rounds of 4 s, a call of 2 s and 8 images
    assert (small.per_image.value, small.per_image.n) == (1 / 4, 4 * 4 * 4)
    assert (big.source, big.counters, big.batch) == ("RAPL", ("package-0",), 8)


def test_targets_take_turns():
    machine = Machine()

    measured(machine, machine.source())

    turns = [name for name, before in zip(machine.calls, ["", *machine.calls], strict=False) if name != before]
    assert turns == ["big", "small", "big", "small", "big"]  # A B | B A | A B | B A


def test_a_server_is_not_metered_here():
    *_, far = measured(machine := Machine(), machine.source())

    assert (far.engine, far.per_image) == ("far", None)
    assert "server" in far.reason


def test_what_cannot_be_read_is_a_row_and_costs_no_run():
    machine = Machine()

    big, *_ = measured(machine, Source(name="RAPL", reason="no zone"))
    record = big.record(seed=1, identity={"file": "f"})

    assert machine.calls == []
    assert (big.per_image, big.reason) == (None, "no zone")
    assert math.isnan(record.value)
    assert (record.flags, record.n, record.identity["reason"]) == (("unreadable",), 0, "no zone")
    assert record.to_json()["value"] is None


def test_a_readable_source_stands_beside_one_that_is_not():
    unread, counted, *_ = measured(machine := Machine(), Source(name="NVML", reason="off"), machine.source())

    assert (unread.source, unread.per_image) == ("NVML", None)
    assert counted.per_image is not None
    assert counted.record(seed=0, identity={}).unit == "J/image"
    assert counted.per_image.value == pytest.approx(0.75)


def test_a_counter_that_stops_answering_costs_its_figures_alone():
    machine = Machine()

    def read() -> int:
        if len(machine.calls) > 3:
            raise OSError("GPU 0 is lost")
        return machine.energy

    figures = measured(machine, Source(name="NVML", counters=(Counter(name="GPU 0", read=read),)))

    assert {figure.per_image for figure in figures} == {None}
    assert [figure.reason for figure in figures][:2] == ["a counter stopped answering: GPU 0 is lost"] * 2


def test_an_engine_that_fails_while_it_is_metered_costs_its_own_figure():
    machine = Machine()

    def fail() -> None:
        raise EngineError("died")

    works = {**machine.works, "small": Work(call=fail, images=4, seconds=4.0, min_calls=1)}

    big, small, _ = measure_energy(works, [machine.source()], budget=BUDGET, clock=lambda: machine.now)

    assert big.per_image is not None
    assert (small.per_image, small.reason) == (None, "failed: died")
    assert small.record(seed=0, identity={}).flags == ("failed: died",)
