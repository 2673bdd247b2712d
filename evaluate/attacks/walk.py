"""Turns an attack written as a generator of images into the state machine that the scheduler runs."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np

from .finish import Finish
from .protocol import Answer, AttackResult, Image, linf_levels

# Gives one query after the other, is sent each answer, and goes on for ever.
Search = Generator[Image, Answer, None]


class Walk:
    """An attack on one image: the clean image, then ``start`` if there is one, then what the search asks for.

    Args:
        image: (H, W, 3) uint8.
        label: Its right class.
        budget: Most queries, the clean check included.
        inside: Tells whether an image lies in the ball. Others may be asked, but are no success.
        search: Asks for images after the clean one and the start.
        start: The first image inside the ball to be asked, or None.
    """

    def __init__(
        self,
        image: Image,
        label: int,
        *,
        budget: int,
        inside: Callable[[Image], bool],
        search: Search,
        start: Image | None = None,
    ) -> None:
        self.label = label
        self._finish = Finish(image, budget)
        self._inside, self._search = inside, search
        self._proposal = image
        self._start = start
        self._searching = False

    @property
    def done(self) -> bool:
        """True when the attack has nothing more to ask."""
        return self._finish.done

    def propose(self, canvas: Image) -> None:
        """Write the next query into ``canvas``."""
        canvas[...] = self._proposal
        self._finish.asks(self._proposal)

    def tell(self, answer: Answer) -> None:
        """Take the answer, and let the search find the next query."""
        self._finish.hears(answer, deliverable=not self._searching or self._inside(self._proposal))
        if self.done:
            return
        if self._searching:
            self._proposal = self._search.send(answer)
        elif self._finish.asked == 1 and self._start is not None:
            self._proposal = self._start
        else:
            self._searching = True
            self._proposal = next(self._search)

    def result(self, queries: int, reason: str | None = None) -> AttackResult:
        """Give the outcome; see ``AttackState.result``."""
        return self._finish.result(queries, reason)


def in_linf_ball(image: Image, eps: int) -> Callable[[Image], bool]:
    """Give the test whether no value of an image is more than ``eps`` grey levels away, in integers."""
    return lambda proposal: linf_levels(proposal, image) <= eps


def in_l2_ball(image: Image, eps: int) -> Callable[[Image], bool]:
    """Give the test whether an image is at most ``eps`` grey levels away in L2, in integers."""
    return lambda proposal: l2_squared(proposal, image) <= eps * eps


def l2_squared(a: Image, b: Image) -> int:
    """Give the square of the L2 distance of two uint8 images in grey levels, an exact integer.

    Example:
        >>> l2_squared(np.uint8([3, 4]), np.uint8([0, 0]))
        25
    """
    moved = a.astype(np.int32) - b
    return int((moved * moved).sum(dtype=np.int64))
