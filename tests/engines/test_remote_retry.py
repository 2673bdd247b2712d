from collections.abc import Callable

import pytest

from robustmq_trt.engines.remote_retry import Policy, Retrier, ServerError, TransientError

POLICY = Policy(deadline_s=10.0, attempts=4, backoff_s=0.5, longest_backoff_s=1.0, failures=2, cooldown_s=30.0)


class Time:
    """A clock that only sleeping moves, and what was slept."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def retrier(time: Time) -> Retrier:
    return Retrier(POLICY, clock=time.clock, sleep=time.sleep)


def failing(times: int, **details: object) -> Callable[[float], str]:
    left = [times]

    def attempt(deadline: float) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise TransientError("busy", **details)
        return "done"

    return attempt


def test_waits_double_up_to_the_longest(retrier: Retrier, time: Time):
    assert retrier.call(failing(3), what="It") == "done"

    assert time.slept == [0.5, 1.0, 1.0]
    assert retrier.retries == 3


def test_attempts_are_bounded(retrier: Retrier):
    with pytest.raises(ServerError, match="It failed after 4 attempts in at most 10 s, the last with: busy"):
        retrier.call(failing(9), what="It")


def test_no_wait_goes_past_the_deadline(retrier: Retrier, time: Time):
    with pytest.raises(ServerError, match="after 1 attempt "):
        retrier.call(failing(9, wait_s=60.0), what="It")

    assert time.slept == []


def test_every_attempt_is_told_the_one_deadline(retrier: Retrier, time: Time):
    told = []

    def attempt(deadline: float) -> None:
        told.append(deadline)
        raise TransientError("busy")

    with pytest.raises(ServerError):
        retrier.call(attempt, what="It")

    assert told == [110.0] * 4


def test_the_server_may_ask_for_a_longer_wait(retrier: Retrier, time: Time):
    retrier.call(failing(1, wait_s=3.0), what="It")

    assert time.slept == [3.0]


def test_a_stale_connection_counts_as_an_attempt_only_the_second_time(time: Time):
    retrier = Retrier(Policy(attempts=1), clock=time.clock, sleep=time.sleep)

    assert retrier.call(failing(1, stale=True), what="It") == "done"
    with pytest.raises(ServerError, match="after 1 attempt "):
        retrier.call(failing(2, stale=True), what="It")
    assert time.slept == []


def test_the_breaker_opens_after_failures_in_a_row_and_lets_one_request_decide(retrier: Retrier, time: Time):
    for _ in range(2):
        with pytest.raises(ServerError):
            retrier.call(failing(9), what="It")
    with pytest.raises(ServerError, match=r"was not sent: 2 requests .* busy\. The next one is sent in 30 s"):
        retrier.call(failing(0), what="It")

    time.now += 31
    with pytest.raises(ServerError, match="failed after"):
        retrier.call(failing(9), what="It")
    with pytest.raises(ServerError, match="was not sent: 3 requests"):
        retrier.call(failing(0), what="It")

    time.now += 31
    assert retrier.call(failing(0), what="It") == "done"
    with pytest.raises(ServerError, match="failed after"):
        retrier.call(failing(9), what="It")
    assert retrier.call(failing(0), what="It") == "done"


def test_an_error_that_is_not_transient_is_passed_on_and_does_not_count(retrier: Retrier):
    def attempt(deadline: float) -> None:
        raise ServerError("refused")

    for _ in range(5):
        with pytest.raises(ServerError, match="refused"):
            retrier.call(attempt, what="It")
