import gc
from collections.abc import Callable

import numpy as np
import pytest

from robustmq_trt.core.errors import EngineError, InputError
from robustmq_trt.evaluate.stopwatch import Budget, Work, time_rounds


class FakeTime:
    """A clock that only moves while work is done."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[str] = []

    def clock(self) -> int:
        return self.now

    def work(self, name: str, nanoseconds: int) -> Callable[[], None]:
        def call() -> None:
            self.now += nanoseconds
            self.log.append(name)

        return call


BARE = Budget(rounds=3, warm_up_runs=0, warm_up_seconds=0, settle_runs=0)


def test_each_call_is_timed_alone():
    fake = FakeTime()
    works = [
        Work(call=fake.work("a", 5), images=1, seconds=0, min_calls=4),
        Work(call=fake.work("b", 7), images=1, seconds=0, min_calls=2),
    ]

    first, second = time_rounds(works, BARE, clock=fake.clock)

    assert [turn.tolist() for turn in first] == [[5] * 4] * 3
    assert [turn.tolist() for turn in second] == [[7] * 2] * 3


def test_turns_alternate_forth_and_back():
    fake = FakeTime()
    works = [Work(call=fake.work(name, 1), images=1, seconds=0, min_calls=1) for name in "abc"]

    time_rounds(works, BARE, clock=fake.clock)

    assert "".join(fake.log) == "abccbaabc"


def test_a_round_lasts_until_both_time_and_count_are_reached():
    fake = FakeTime()
    short = Work(call=fake.work("a", 100_000_000), images=1, seconds=1.0, min_calls=1)
    counted = Work(call=fake.work("b", 100_000_000), images=1, seconds=0.2, min_calls=30)

    spans = time_rounds([short, counted], BARE, clock=fake.clock)

    assert [len(turn) for turn in spans[0]] == [10, 10, 10]
    assert [len(turn) for turn in spans[1]] == [30, 30, 30]


@pytest.mark.parametrize(("nanoseconds", "images", "expected"), [(10**6, 1, 200), (10**8, 1, 20), (10**8, 8, 3)])
def test_warm_up_reaches_its_time_and_its_images(nanoseconds: int, images: int, expected: int):
    fake = FakeTime()
    budget = Budget(rounds=1, warm_up_runs=20, warm_up_seconds=0.2, settle_runs=0)

    time_rounds(
        [Work(call=fake.work("a", nanoseconds), images=images, seconds=0, min_calls=1)], budget, clock=fake.clock
    )

    assert len(fake.log) == expected + 1


def test_calls_that_settle_the_caches_are_not_timed():
    fake = FakeTime()
    budget = Budget(rounds=2, warm_up_runs=0, warm_up_seconds=0, settle_runs=3)

    (spans,) = time_rounds([Work(call=fake.work("a", 1), images=1, seconds=0, min_calls=2)], budget, clock=fake.clock)

    assert [len(turn) for turn in spans] == [2, 2]
    assert len(fake.log) == 2 * (3 + 2)


def test_the_garbage_collector_rests_inside_the_clock_only():
    inside: list[bool] = []
    fake = FakeTime()

    def call() -> None:
        inside.append(gc.isenabled())

    time_rounds([Work(call=call, images=1, seconds=0, min_calls=1)], BARE, clock=fake.clock)

    assert not any(inside)
    assert gc.isenabled()


def test_the_garbage_collector_returns_after_a_failure():
    def fail() -> None:
        raise ValueError("engine crashed")

    with pytest.raises(ValueError, match="crashed"):
        time_rounds([Work(call=fail, images=1, seconds=0, min_calls=1)], BARE, clock=lambda: 0)

    assert gc.isenabled()


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"seconds": np.nan}, {"rounds": 0}, {"batches": ()}])
def test_a_budget_without_time_or_counts_is_refused(wrong: dict[str, object]):
    with pytest.raises(InputError, match="Expected"):
        Budget(**wrong)


def test_what_fails_gets_no_more_turns_and_the_others_go_on():
    fake = FakeTime()
    error = EngineError("died")

    def fail() -> None:
        fake.log.append("b")
        raise error

    works = [Work(call=call, images=1, seconds=0, min_calls=1) for call in (fake.work("a", 1), fail)]

    first, second = time_rounds(works, BARE, clock=fake.clock)

    assert [turn.tolist() for turn in first] == [[1]] * 3
    assert second is error
    assert "".join(fake.log) == "abaa"
