"""When to ask a server again, how long to wait, and when to stop asking. Sends nothing itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..core.errors import EngineError

Result = TypeVar("Result")


class TransientError(Exception):
    """One attempt failed in a way that another may not.

    Attributes:
        wait_s: Seconds the server asked to wait, or None.
        stale: Whether the failure is that of an idle connection which the server had closed meanwhile.
    """

    def __init__(self, reason: str, *, wait_s: float | None = None, stale: bool = False) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.stale = stale


class ServerError(EngineError):
    """The server did not answer, or answered with an error."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How patient the client is.

    Attributes:
        deadline_s: Seconds for one request with all its attempts.
        attempts: Most attempts for one request.
        backoff_s: Wait before the second attempt; it doubles with each further one.
        longest_backoff_s: Most seconds between two attempts.
        failures: Failed requests in a row after which no more are sent for a while.
        cooldown_s: How long none are sent then; after that, one request decides.
    """

    deadline_s: float = 120.0
    attempts: int = 6
    backoff_s: float = 0.1
    longest_backoff_s: float = 5.0
    failures: int = 3
    cooldown_s: float = 30.0


class Retrier:
    """Repeats failed attempts within one deadline, and stops asking a server that keeps failing (circuit breaker).

    Attributes:
        retries: Attempts that were repeated so far.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._failed = 0
        self._closed_until = float("-inf")
        self._last = ""
        self.retries = 0

    def call(self, attempt: Callable[[float], Result], *, what: str) -> Result:
        """Run an attempt until it succeeds.

        Args:
            attempt: Takes the moment of the clock at which it must end; may raise :class:`TransientError`.
            what: The request in words, for messages.

        Raises:
            ServerError: If attempts or time run out, or too many requests in a row have failed.
        """
        now = self._clock()
        if now < self._closed_until:
            raise ServerError(
                f"{what} was not sent: {self._failed} requests in a row had failed, the last with: {self._last}. "
                f"The next one is sent in {self._closed_until - now:.0f} s."
            )
        result = self._repeat(attempt, now + self._policy.deadline_s, what)
        self._failed = 0
        return result

    def _repeat(self, attempt: Callable[[float], Result], deadline: float, what: str) -> Result:
        tries, last, stale = 0, "", False
        while True:
            try:
                return attempt(deadline)
            except TransientError as error:
                last = str(error)
                # A connection that died while idle says nothing about the server: the first one does not count.
                tries += 0 if error.stale and not stale else 1
                wait = 0.0 if error.stale and not stale else self._wait(tries, error.wait_s)
                stale = stale or error.stale
            self.retries += 1
            if tries >= self._policy.attempts or self._clock() + wait >= deadline:
                self._count(last)
                asked = f"{tries} attempt{'s' if tries != 1 else ''} in at most {self._policy.deadline_s:g} s"
                raise ServerError(f"{what} failed after {asked}, the last with: {last}. Check the server and its log.")
            if wait:
                self._sleep(wait)

    def _wait(self, tries: int, asked: float | None) -> float:
        doubled = min(self._policy.longest_backoff_s, self._policy.backoff_s * 2.0 ** max(0, tries - 1))
        return doubled if asked is None else max(doubled, asked)

    def _count(self, last: str) -> None:
        self._failed += 1
        self._last = last
        if self._failed >= self._policy.failures:
            self._closed_until = self._clock() + self._policy.cooldown_s
