"""Keeps the engine's batch full while every image is attacked at its own pace (continuous batching)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import EngineError
from .attacks.protocol import BUDGET_SPENT, Answer, AttackResult, AttackState
from .oracle import NON_FINITE, Oracle

Finished = Callable[[int, AttackResult], None]


@dataclass(frozen=True)
class _Seat:
    index: int
    state: AttackState
    ticket: int


class _Crew:
    """The images of one batch, each in its seat with its canvas."""

    def __init__(self, oracle: Oracle) -> None:
        self.seats: list[_Seat] = []
        self.asked = 0  # the first seats, whose answers are under way
        self._canvases = np.zeros((oracle.batch, *oracle.size, 3), dtype=np.uint8)
        self._views = list(self._canvases)

    def propose(self) -> tuple[NDArray[np.uint8], list[int]]:
        """Let every attack write its next query, and give the images and their tickets."""
        for seat, canvas in zip(self.seats, self._views, strict=False):  # the last views are empty seats
            seat.state.propose(canvas)
        self.asked = len(self.seats)
        return self._canvases[: self.asked], [seat.ticket for seat in self.seats]

    def close_up(self, place: int) -> None:
        """Give a seat that fell free to the last one in line."""
        last = self.seats.pop()
        if place < len(self.seats):
            self.seats[place] = last
            self._canvases[place] = self._canvases[len(self.seats)]

    def hand_over(self, other: _Crew, count: int) -> None:
        """Let the last ones change to the end of another crew, with what is on their canvases."""
        mine, theirs = len(self.seats) - count, len(other.seats)
        other._canvases[theirs : theirs + count] = self._canvases[mine : mine + count]
        other.seats += self.seats[mine:]
        del self.seats[mine:]


def run_attacks(
    states: Iterable[AttackState], oracle: Oracle, *, finished: Finished | None = None
) -> list[AttackResult]:
    """Run one attack per image to its end and give the results in the order of ``states``.

    A seat in the batch goes to the next image as soon as one ends, so the batch stays full until the last images.
    Where the engine computes in another process, two crews of images take turns: while it works on one, the attacks on
    the other take their answers and propose, so it never waits for them.
    An image's result does not depend on its batch mates, given an engine whose rows do not depend on theirs.

    Args:
        states: Fresh attack states; taken one by one as seats fall free, so a generator keeps memory flat.
        oracle: Answers and counts; its ``batch`` is the number of seats of a crew.
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
        self._crews = [_Crew(oracle) for _ in range(2 if oracle.ahead else 1)]

    def complete(self) -> list[AttackResult]:
        for number in range(self._oracle.batch * len(self._crews)):
            if seat := self._next():
                self._crews[number % len(self._crews)].seats.append(seat)
        while any(crew.seats for crew in self._crews):
            try:
                for crew in self._crews:
                    self._turn(crew)
            except EngineError as failure:
                self._abandon(str(failure))
        return [self._results[index] for index in sorted(self._results)]

    def _turn(self, crew: _Crew) -> None:
        """Take a crew's answers, and ask its next questions; those of the other crew are under way meanwhile."""
        if crew.asked:
            answers = self._oracle.collect()
            # Backwards: a seat that falls free is refilled from the end, which has had its answer by then.
            for place in range(crew.asked - 1, -1, -1):
                self._tell(crew, place, answers[place])
            crew.asked = 0
        self._balance(crew)
        if crew.seats:
            self._oracle.submit(*crew.propose())

    def _balance(self, crew: _Crew) -> None:
        """Share the last images between the crews; where a call costs the same however full, keep them together."""
        for other in self._crews:
            mine, theirs = len(crew.seats), len(other.seats)
            if other is crew:
                continue
            if not self._oracle.pads:
                crew.hand_over(other, max(0, mine - theirs) // 2)
            elif 0 < theirs <= self._oracle.batch - mine:
                crew.hand_over(other, mine)

    def _tell(self, crew: _Crew, place: int, answer: Answer | None) -> None:
        seat = crew.seats[place]
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
        if following := self._next():
            crew.seats[place] = following
        else:
            crew.close_up(place)

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
        for crew in self._crews:
            for seat in crew.seats:
                self._end(seat, reason)
            crew.seats, crew.asked = [], 0
        while waiting := self._next():
            self._end(waiting, reason)
