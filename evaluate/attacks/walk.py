"""Turns an attack written as a generator of images into the state machine that the scheduler runs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from .finish import Finish
from .protocol import Answer, AttackResult, Goal, Image, check_eps_and_budget, check_start
from .reach import Reach, brought_inside, is_inside

T = TypeVar("T")

# Asks for images, which it leaves as they are from then on, is sent each answer, and gives what it found.
Part = Generator[Image, Answer, T]
# Begins with ``Scene.opening`` and goes on for ever. It may ask outside the ball; that is no success.
Search = Part[None]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a search has to work with.

    Attributes:
        image: (H, W, 3) uint8, the original.
        goal: What the engine is to answer.
        eps: Radius in grey levels of the attack's norm.
        budget: Most queries, the opening included.
        rng: The image's own stream.
        start: (H, W, 3) uint8 in the ball, where the search is to begin; None for the attack's own start.
    """

    image: Image
    goal: Goal
    eps: int
    budget: int
    rng: np.random.Generator
    start: Image | None

    def opening(self) -> Part[tuple[Answer, Answer | None]]:
        """Ask for the clean image, then for the start, if there is one, and give the answers."""
        clean = yield self.image
        if self.start is None:
            return clean, None
        started = yield self.start
        return clean, started


@dataclass(frozen=True, kw_only=True)
class SearchAttack:
    """An attack that is a search and nothing else; see ``QueryAttack``.

    Attributes:
        name: Its name in the catalogue.
        search: The attack itself.
        eps: Radius in grey levels: 1..255 in L-inf, at least 1 in L2 (127 is 0.5 in [0, 1] pixels).
        budget: Most queries per image, the clean check included.
        norm: In what eps is measured.

    Raises:
        InputError: If a setting is outside its range.
    """

    name: str
    search: Callable[[Scene], Search]
    eps: int
    budget: int = 1000
    norm: Reach = "linf"

    def __post_init__(self) -> None:
        check_eps_and_budget(self.eps, self.budget, largest=255 if self.norm == "linf" else None)

    @property
    def task(self) -> str:
        """What to key the random streams with."""
        return f"{self.name}:eps={self.eps}"

    def begin(self, image: Image, goal: Goal, rng: np.random.Generator, start: Image | None = None) -> Walk:
        """Give the state that attacks one image; see ``QueryAttack.begin``."""
        image, start = check_start(image, start)
        if start is not None:
            start = brought_inside(start, image, eps=self.eps, norm=self.norm)
        scene = Scene(image=image, goal=goal, eps=self.eps, budget=self.budget, rng=rng, start=start)
        return Walk(scene, self.search(scene), self.norm)


class Walk:
    """A search on one image, counted and judged; made by ``SearchAttack.begin``.

    Args:
        scene: What the search works with.
        search: What asks for images.
        norm: In what the scene's eps is measured.
    """

    def __init__(self, scene: Scene, search: Search, norm: Reach) -> None:
        self.goal = scene.goal
        self._search = search
        inside = partial(is_inside, image=scene.image, eps=scene.eps, norm=norm)
        self._finish = Finish(scene.image, scene.budget, inside)
        self._proposal: Image | None = None

    @property
    def done(self) -> bool:
        """True when the attack has nothing more to ask."""
        return self._finish.done

    def propose(self, canvas: Image) -> None:
        """Write the next query into ``canvas``."""
        if self._proposal is None:
            self._proposal = next(self._search)
        canvas[...] = self._proposal
        self._finish.asks(self._proposal)

    def tell(self, answer: Answer) -> None:
        """Take the answer, and let the search find the next query."""
        assert self._proposal is not None
        self._finish.hears(answer)
        if not self.done:
            self._proposal = self._search.send(answer)

    def result(self, queries: int, reason: str | None = None) -> AttackResult:
        """Give the outcome; see ``AttackState.result``."""
        return self._finish.result(queries, reason)
