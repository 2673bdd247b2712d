"""SignHunter on the uint8 grid: signs turned block by block, coarse to fine, kept while the margin does not rise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .protocol import Image, check_eps_and_budget, check_start
from .rays import blocks, first_signs, turned
from .walk import Search, Walk, in_linf_ball


@dataclass(frozen=True, kw_only=True)
class SignHunterLinf:
    """Estimates the sign of the gradient by turning one block of signs at a time, halved from pass to pass.

    Attributes:
        eps: Radius in grey levels, 1..255.
        budget: Most queries per image, the clean check included.

    Raises:
        InputError: If a setting is outside its range.

    Reference:
        Al-Dujaili, O'Reilly 2020, "Sign bits are all you need for black-box attacks" (ICLR), Algorithms 1 and 2.
        Differences: equal margins are accepted, since integer engines tie; success is the production argmax.
    """

    eps: int
    budget: int = 1000

    def __post_init__(self) -> None:
        check_eps_and_budget(self.eps, self.budget)

    @property
    def task(self) -> str:
        """What to key the random streams with; nothing is drawn from them."""
        return f"signhunter:eps={self.eps}"

    def begin(self, image: Image, label: int, rng: np.random.Generator, start: Image | None = None) -> Walk:
        """Give the state that attacks one image; see ``QueryAttack.begin``."""
        image, start = check_start(image, start)
        wide = image.astype(np.int16)
        low, high = (np.clip(wide + side * self.eps, 0, 255).astype(np.uint8) for side in (-1, 1))
        return Walk(
            image,
            label,
            budget=self.budget,
            inside=in_linf_ball(image, self.eps),
            search=_search(image, low, high, start),
            start=None if start is None else np.clip(start, low, high),
        )


def _search(image: Image, low: Image, high: Image, start: Image | None) -> Search:
    signs = first_signs(image, start)
    answer = yield np.where(signs > 0, high, low)
    margin = answer.margin
    for block in blocks(signs.size):
        attempt = turned(signs, block)
        answer = yield np.where(attempt > 0, high, low)
        if answer.margin <= margin:
            signs, margin = attempt, answer.margin
