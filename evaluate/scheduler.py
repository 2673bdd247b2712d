"""Keeps the engine's batch full while every image is attacked at its own pace (continuous batching)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..core.errors import EngineError
from .attacks.protocol import BUDGET_SPENT, Answer, AttackResult, AttackState
from .oracle import NON_FINITE, Oracle

Finished = Callable[[int, AttackResult], None]


@dataclass(frozen=True)
class _Seat:
    index: int
    state: AttackState
    ticket: int


def run_attacks(
    states: Iterable[AttackState], oracle: Oracle, *, finished: Finished | None = None
) -> list[AttackResult]:
    """Run one attack per image to its end and give the results in the order of ``states``.

    A seat in the batch goes to the next image as soon as one ends, so the batch stays full until the last images.
    An image's result does not depend on its batch mates, given an engine whose rows do not depend on theirs.

    Args:
        states: Fresh attack states; taken one by one as seats fall free, so a generator keeps memory flat.
        oracle: Answers and counts; its ``batch`` is the number of seats.
        finished: Called with index and result as each image ends, in the order in which they end.

    Returns:
        One result per state. An image whose scores were not finite ends with that reason. When the engine itself
        fails, the run ends there: finished images keep their results, all the others get the failure as reason.
    """
    with oracle.stopwatch():
        return _Run(states, oracle, finished).complete()


class _Run:
    def __init__(self, states: Iterable[AttackState], oracle: Oracle, finished: Finished | None) -> None:
        self._waiting: Iterator[tuple[int, AttackState]] = enumerate(states)
        self._oracle = oracle
        self._finished = finished
        self._results: dict[int, AttackResult] = {}
        self._seats: list[_Seat] = []
        self._canvases = np.zeros((oracle.batch, *oracle.size, 3), dtype=np.uint8)
        self._views = list(self._canvases)

    def complete(self) -> list[AttackResult]:
        while len(self._seats) < self._oracle.batch and (seat := self._next()):
            self._seats.append(seat)
        while self._seats:
            try:
                self._step()
            except EngineError as failure:
                self._abandon(str(failure))
        return [self._results[index] for index in sorted(self._results)]

    def _step(self) -> None:
        seats = self._seats
        for seat, canvas in zip(seats, self._views, strict=False):  # the last views are empty seats
            seat.state.propose(canvas)
        answers = self._oracle.ask(self._canvases[: len(seats)], [seat.ticket for seat in seats])
        # Backwards: a seat that falls free is refilled from the end, which has had its answer by then.
        for place in range(len(seats) - 1, -1, -1):
            self._tell(place, answers[place])

    def _tell(self, place: int, answer: Answer | None) -> None:
        seat = self._seats[place]
        if answer is None:
            self._end(seat, NON_FINITE)
        else:
            seat.state.tell(answer)
            if seat.state.done:
                self._end(seat)
            elif self._oracle.spent(seat.ticket):
                self._end(seat, BUDGET_SPENT)
            else:
                return
        self._refill(place)

    def _refill(self, place: int) -> None:
        if following := self._next():
            self._seats[place] = following
            return
        last = self._seats.pop()
        if place < len(self._seats):
            self._seats[place] = last
            self._canvases[place] = self._canvases[len(self._seats)]

    def _next(self) -> _Seat | None:
        for index, state in self._waiting:
            seat = _Seat(index, state, self._oracle.admit(state.goal))
            if not state.done:
                return seat
            self._end(seat)
        return None

    def _end(self, seat: _Seat, reason: str | None = None) -> None:
        result = seat.state.result(self._oracle.queries(seat.ticket), reason)
        self._results[seat.index] = result
        if self._finished:
            self._finished(seat.index, result)

    def _abandon(self, reason: str) -> None:
        for seat in self._seats:
            self._end(seat, reason)
        self._seats = []
        while waiting := self._next():
            self._end(waiting, reason)
