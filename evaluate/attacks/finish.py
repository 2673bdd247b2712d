"""What every query attack keeps besides its search: the count of its queries, its best image, and how it ended."""

from __future__ import annotations

from collections.abc import Callable

from .protocol import BUDGET_SPENT, CLEAN_WRONG, FOOLED, Answer, AttackResult, Image, linf_levels


class Finish:
    """The ledger of one attack on one image.

    Args:
        image: (H, W, 3) uint8, the original.
        budget: Most queries, the clean check included.
        inside: Tells whether an image may be delivered. One outside the ball may guide a search, but is no success.

    Attributes:
        image: The original.
        best: (H, W, 3) uint8, what is delivered: the image that fooled the engine, else the one of lowest margin after
            the clean image, else the original.
        asked: Queries proposed so far.
        done: True once the engine is fooled or the budget is spent.
        margin: Margin of ``best``; NaN before any answer.
    """

    def __init__(self, image: Image, budget: int, inside: Callable[[Image], bool]) -> None:
        self.image = self.best = image
        self.asked = 0
        self.done = False
        self.margin = float("nan")
        self._budget, self._inside = budget, inside
        self._success = False
        self._ties = 0
        self._last = image

    def asks(self, proposal: Image) -> None:
        """Count a query and keep its image, (H, W, 3) uint8, which may not change any more."""
        self._last = proposal
        self.asked += 1

    def hears(self, answer: Answer) -> None:
        """Take the answer to the last query."""
        if answer.margin == self.margin:
            self._ties += 1
        better = answer.wrong or self.asked <= 2 or not answer.margin >= self.margin
        if better and self._inside(self._last):
            self.best, self.margin = self._last, answer.margin
            self._success = answer.wrong
        self.done = self._success or self.asked >= self._budget

    def result(self, queries: int, reason: str | None = None) -> AttackResult:
        """Give the outcome; see ``AttackState.result``."""
        if self._success:
            reason = CLEAN_WRONG if self.asked == 1 else FOOLED
        return AttackResult(
            adversarial=self.best.copy(),
            queries=queries,
            success=self._success,
            reason=reason or BUDGET_SPENT,
            linf=linf_levels(self.best, self.image),
            ties=self._ties,
            margin=self.margin,
        )
