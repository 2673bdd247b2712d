"""Timing calls in interleaved rounds, with the garbage collector off inside the clock. Knows nothing of engines."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RobustMQError

Clock = Callable[[], int]
Nanoseconds = NDArray[np.int64]
Rounds = list[Nanoseconds] | RobustMQError  # what broke in the middle has no rounds


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to measure.

    Attributes:
        seconds: Time inside the clock per target, scenario and scope, more if the minimum counts ask for it.
        rounds: Turns that each target gets; with 6 the slowest and the fastest round enclose the median at 97 %.
        min_queries: Fewest single-stream queries per target; 1024 bound the 99th percentile from both sides.
        min_batches: Fewest offline batches per target, batch size and round.
        warm_up_runs: Fewest calls before the first round (for batches: images).
        warm_up_seconds: Shortest warm-up.
        settle_runs: Calls outside the clock whenever the turn comes to a target, to refill the caches it lost (for
            batches: images).
        batches: Batch sizes that offline tries.

    Raises:
        InputError: If a count or time is not positive.
    """

    seconds: float = 10.0
    rounds: int = 6
    min_queries: int = 1024
    min_batches: int = 2
    warm_up_runs: int = 20
    warm_up_seconds: float = 0.2
    settle_runs: int = 3
    batches: tuple[int, ...] = (1, 8, 32, 64)

    def __post_init__(self) -> None:
        for name in ("seconds", "rounds", "min_queries", "min_batches"):
            if not getattr(self, name) > 0:
                raise InputError(f"Expected `{name}` above 0, got {getattr(self, name)}.")
        if not self.batches or min(self.batches) < 1:
            raise InputError(f"Expected batch sizes of at least 1, got {self.batches}.")

    def to_json(self) -> dict[str, Any]:
        """Give the budget as JSON data."""
        return {**asdict(self), "batches": list(self.batches)}


@dataclass(frozen=True, kw_only=True)
class Work:
    """One thing to time.

    Attributes:
        call: What is inside the clock.
        images: Images that one call answers.
        seconds: Time inside the clock per round.
        min_calls: Fewest calls per round.
    """

    call: Callable[[], object]
    images: int
    seconds: float
    min_calls: int


def time_rounds(works: Sequence[Work], budget: Budget, *, clock: Clock = time.perf_counter_ns) -> list[Rounds]:
    """Time several pieces of work in turns, A B | B A | A B, so that a drift of the machine falls on all alike.

    Args:
        works: What to time; all are warmed up before the first round.
        budget: Number of rounds, warm-up and settling.
        clock: Nanoseconds from any origin.

    Returns:
        For each work, for each round, the duration of every call in nanoseconds, (calls,) int64; the error instead for
        one whose call raised a `RobustMQError`: it gets no more turns, and the others go on.
    """
    found: list[Rounds] = [_warmed_up(work, budget, clock) for work in works]
    with _collector_off():
        for turn in range(budget.rounds):
            order = range(len(works)) if turn % 2 == 0 else reversed(range(len(works)))
            for index in order:
                found[index] = _with_turn(found[index], works[index], budget, clock)
    return found


def _warmed_up(work: Work, budget: Budget, clock: Clock) -> Rounds:
    try:
        _warm_up(work, budget, clock)
    except RobustMQError as error:
        return error
    return []


def _with_turn(rounds: Rounds, work: Work, budget: Budget, clock: Clock) -> Rounds:
    if isinstance(rounds, RobustMQError):
        return rounds
    try:
        return [*rounds, _time(work, budget, clock)]
    except RobustMQError as error:
        return error


def _warm_up(work: Work, budget: Budget, clock: Clock) -> None:
    calls = math.ceil(budget.warm_up_runs / work.images)
    begin, done = clock(), 0
    while done < calls or clock() - begin < budget.warm_up_seconds * 1e9:
        work.call()
        done += 1


def _time(work: Work, budget: Budget, clock: Clock) -> Nanoseconds:
    call = work.call
    for _ in range(math.ceil(budget.settle_runs / work.images)):
        call()
    limit = round(work.seconds * 1e9)
    spans: list[int] = []
    begin = clock()
    while True:
        start = clock()
        call()
        end = clock()
        spans.append(end - start)
        if end - begin >= limit and len(spans) >= work.min_calls:
            return np.array(spans, np.int64)


@contextmanager
def _collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
