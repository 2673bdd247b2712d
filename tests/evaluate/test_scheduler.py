from dataclasses import dataclass

import numpy as np
import pytest

from robustmq_trt.evaluate.attacks.protocol import BUDGET_SPENT, FOOLED, Answer, AttackResult, Goal
from robustmq_trt.evaluate.oracle import NON_FINITE, Oracle
from robustmq_trt.evaluate.scheduler import run_attacks

POISON = 250


class Plain:
    size = (2, 2)

    def tensor(self, images: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)


class TopLeft:
    """Three scores from the top left pixel; NaN for a poisoned one; raises from the given call on."""

    def __init__(self, *, raises_at: int | None = None) -> None:
        self.rows: list[int] = []
        self.raises_at = raises_at

    def infer(self, batch: np.ndarray) -> np.ndarray:
        if self.raises_at is not None and len(self.rows) >= self.raises_at:
            raise RuntimeError("device lost")
        self.rows.append(len(batch))
        scores = batch[:, :, 0, 0].copy()
        scores[scores[:, 2] == POISON] = np.nan
        return scores


class Elsewhere(TopLeft):
    """The same behind a queue, as an engine in another process is; the answers come as late as they can."""

    def __init__(self, *, raises_at: int | None = None) -> None:
        super().__init__(raises_at=raises_at)
        self.queue: list[np.ndarray] = []
        self.deepest = 0

    def submit(self, batch: np.ndarray) -> None:
        self.queue.append(batch.copy())
        self.deepest = max(self.deepest, len(self.queue))

    def collect(self) -> tuple[np.ndarray, int]:
        return self.infer(self.queue.pop(0)), 7


@dataclass
class Counter:
    """Counts the top left pixel up by one per query, writing nothing else, until ``needs`` queries were answered.

    The pixel below keeps the image's number from the first query on, so that a mixed-up canvas shows.
    """

    number: int
    needs: int
    asked: int = 0
    poison_at: int = -1
    done: bool = False
    goal = Goal(0)

    def propose(self, canvas: np.ndarray) -> None:
        if self.asked == 0:
            canvas[...] = self.number
            canvas[0, 0] = 9, 0, 0
        assert (canvas[1, 1] == self.number).all()
        assert canvas[0, 0, 1] == self.asked
        self.asked += 1
        canvas[0, 0, 1] = self.asked
        if self.asked == self.poison_at:
            canvas[0, 0, 2] = POISON

    def tell(self, answer: Answer) -> None:
        assert answer.scores[1] == self.asked
        self.done = self.asked == self.needs

    def result(self, queries: int, reason: str | None = None) -> AttackResult:
        return AttackResult(
            adversarial=np.zeros((2, 2, 3), np.uint8),
            queries=queries,
            success=reason is None,
            reason=reason or FOOLED,
            linf=self.number,
        )


def run(states: list[Counter], *, batch: int, budget: int = 100, engine: TopLeft | None = None) -> list[AttackResult]:
    return run_attacks(states, Oracle(engine or TopLeft(), Plain(), batch=batch, budget=budget))


NEEDS = [3, 1, 7, 2, 2, 9, 1, 4, 5, 1, 1, 30]


@pytest.mark.parametrize("kind", [TopLeft, Elsewhere])
@pytest.mark.parametrize("batch", [1, 2, 3, 7, 12, 64])
def test_results_come_in_the_order_of_the_images_with_their_own_queries(batch: int, kind: type[TopLeft]) -> None:
    results = run([Counter(number, needs) for number, needs in enumerate(NEEDS)], batch=batch, engine=kind())

    assert [result.linf for result in results] == list(range(len(NEEDS)))
    assert [result.queries for result in results] == NEEDS


def test_the_batch_stays_full_until_the_images_run_out() -> None:
    engine = TopLeft()

    run([Counter(number, 5) for number in range(20)], batch=4, engine=engine)

    assert engine.rows == [4] * 25


def test_two_crews_keep_an_engine_elsewhere_at_work_and_share_the_last_images() -> None:
    engine = Elsewhere()

    run([Counter(number, 9 if number % 2 else 5) for number in range(8)], batch=4, engine=engine)

    assert engine.deepest == 2
    assert engine.rows == [4] * 10 + [2] * 8  # the crew of the even numbers has ended, and takes half of the others


def test_an_engine_that_always_computes_a_full_batch_is_not_asked_twice_for_the_last_images() -> None:
    engine = Elsewhere()
    oracle = Oracle(engine, Plain(), batch=4, budget=100, pad=True)

    results = run_attacks([Counter(number, 5) for number in range(7)], oracle)

    assert [result.queries for result in results] == [5] * 7
    assert oracle.cost.calls == 10
    run_attacks([Counter(number, 5) for number in range(3)], oracle)
    assert oracle.cost.calls == 15


def test_the_time_of_an_engine_elsewhere_is_the_time_it_says() -> None:
    oracle = Oracle(Elsewhere(), Plain(), batch=4, budget=100)

    run_attacks([Counter(number, 5) for number in range(4)], oracle)

    assert oracle.cost.engine_ns == 7 * oracle.cost.calls


def test_images_are_taken_only_as_seats_fall_free() -> None:
    taken: list[int] = []

    def states():
        for number in range(6):
            taken.append(number)
            yield Counter(number, 2)

    ends: list[tuple[int, int]] = []
    oracle = Oracle(TopLeft(), Plain(), batch=2, budget=10)

    run_attacks(states(), oracle, finished=lambda index, _: ends.append((index, len(taken))))

    assert ends[0] == (1, 2)
    assert sorted(index for index, _ in ends) == list(range(6))


def test_an_attack_that_never_ends_is_ended_by_the_budget() -> None:
    results = run([Counter(0, 1000), Counter(1, 4)], batch=2, budget=5)

    assert [(result.queries, result.reason) for result in results] == [(5, BUDGET_SPENT), (4, FOOLED)]


def test_an_image_with_non_finite_scores_ends_alone() -> None:
    results = run([Counter(0, 6), Counter(1, 6, poison_at=3), Counter(2, 6)], batch=2)

    assert [(result.queries, result.reason) for result in results] == [(6, FOOLED), (3, NON_FINITE), (6, FOOLED)]
    assert not results[1].success


def test_a_failing_engine_keeps_what_is_finished_and_gives_the_others_the_reason() -> None:
    results = run([Counter(n, needs) for n, needs in enumerate([2, 9, 9, 9])], batch=2, engine=TopLeft(raises_at=3))

    assert [result.success for result in results] == [True, False, False, False]
    assert [result.queries for result in results] == [2, 4, 2, 0]
    assert all("RuntimeError: device lost" in result.reason for result in results[1:])


def test_a_failing_engine_elsewhere_takes_both_crews_with_it() -> None:
    results = run([Counter(n, needs) for n, needs in enumerate([2, 9, 9, 9])], batch=1, engine=Elsewhere(raises_at=3))

    assert [result.success for result in results] == [True, False, False, False]
    assert [result.queries for result in results] == [2, 2, 1, 0]
    assert all("RuntimeError: device lost" in result.reason for result in results[1:])


def test_a_bug_in_an_attack_is_not_mistaken_for_a_failing_engine() -> None:
    class Buggy(Counter):
        def tell(self, answer: Answer) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run([Buggy(0, 3)], batch=1)


def test_no_image_gives_no_result() -> None:
    assert run([], batch=3) == []


def test_an_attack_with_nothing_to_ask_costs_no_query() -> None:
    engine = TopLeft()

    results = run([Counter(1, 2), Counter(2, 1, done=True), Counter(3, 1)], batch=1, engine=engine)

    assert [result.queries for result in results] == [2, 0, 1]
    assert engine.rows == [1, 1, 1]
