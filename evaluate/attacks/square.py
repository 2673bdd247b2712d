"""The Square attack, L-inf, on the uint8 grid."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from ...core.errors import InputError, unknown
from .protocol import (
    BUDGET_SPENT,
    CLEAN_WRONG,
    FOOLED,
    Answer,
    AttackResult,
    Goal,
    Image,
    check_eps_and_budget,
    check_start,
    linf_levels,
)
from .reach import bounds, chosen, signs_of

Accept = Literal["equal", "strict"]

# Iterations of a run of 10 000 after which p halves (Andriushchenko et al. 2020, section 5).
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_RUN_LENGTH = 10_000
_PROPOSALS_PER_BLOCK = 64
_LOW_WORD = 0xFFFFFFFF
_CHANNEL_BITS = np.array([1 << 63, 1 << 62, 1 << 61], dtype=np.uint64)


@dataclass(frozen=True, kw_only=True)
class SquareLinf:
    """Random search with colour squares, stopped by the production argmax and by nothing else.

    Query 1 is the clean image, query 2 the vertical stripes (or ``start``), every further one a square.

    Attributes:
        eps: Radius in grey levels, 1..255.
        budget: Most queries per image, the clean check included.
        p_init: Share of the pixels in the first square, 0 < p_init <= 1.
        accept: ``"equal"`` also moves to proposals of the same margin, which an integer engine gives on its plateaus;
            ``"strict"`` moves only to lower ones, as the paper does.

    Raises:
        InputError: If a setting is outside its range.

    Reference:
        Andriushchenko, Croce, Flammarion, Hein 2020, arXiv 1912.00049, Algorithms 1 and 2; the p-schedule of section 5
        stretched over the budget. ``p_init`` = 0.8 is AutoAttack's (Croce, Hein 2020, arXiv 2003.01690); the paper's
        is 0.05 for undefended nets. Differences: the state is uint8; success is the production argmax, because integer
        engines tie and a margin of zero is no error; equal margins are accepted; each image has its own random stream.
    """

    eps: int
    budget: int = 1000
    p_init: float = 0.8
    accept: Accept = "equal"

    def __post_init__(self) -> None:
        check_eps_and_budget(self.eps, self.budget)
        if not 0 < self.p_init <= 1:
            raise InputError(f"Expected `p_init` in (0, 1], got {self.p_init}.")
        if self.accept not in ("equal", "strict"):
            raise unknown("accept rule", self.accept, ["equal", "strict"])

    @property
    def task(self) -> str:
        """What to key the random streams with; the same for both accept rules, so that they compare as pairs."""
        return f"square:eps={self.eps}"

    def begin(self, image: Image, goal: Goal, rng: np.random.Generator, start: Image | None = None) -> SquareState:
        """Give the state that attacks one image, from stripes or from ``start``; see ``QueryAttack.begin``."""
        image, start = check_start(image, start)
        return SquareState(self, image, goal, rng, start)


class SquareState:
    """The Square attack on one image; made by ``SquareLinf.begin``."""

    def __init__(
        self, attack: SquareLinf, image: Image, goal: Goal, rng: np.random.Generator, start: Image | None
    ) -> None:
        self.goal = goal
        self.done = False
        self._attack, self._image, self._rng, self._start = attack, image, rng, start
        self._success = False
        self._asked = self._ties = 0
        self._margin = float("nan")
        self._best = image  # what is delivered; becomes an own copy with the first start inside the ball
        # Set up by the second proposal: most images of a long list wait for their turn without them.
        self._corners: Corners
        self._sides: tuple[int, ...]
        self._draws: Iterator[list[int]]
        self._window: tuple[slice, slice]
        self._patch: Image  # what the last proposal holds in the window
        self._below_patch: Image  # what the best image holds there, a view
        self._moved = True

    def propose(self, canvas: Image) -> None:
        """Write the clean image, then the start, then one square into ``canvas``."""
        if self._asked > 1:
            self._propose_square(canvas)
        elif self._asked == 1:
            self._set_up()
            canvas[...] = self._best
        else:
            canvas[...] = self._image
        self._asked += 1

    def tell(self, answer: Answer) -> None:
        """Keep the proposal if it fooled the engine or its margin is low enough."""
        margin = answer.margin
        if self._asked <= 2:
            self._margin = margin
        else:
            if margin == self._margin:
                self._ties += 1
            self._moved = (
                answer.wrong or margin < self._margin or (margin == self._margin and self._attack.accept == "equal")
            )
            if self._moved:
                self._below_patch[...] = self._patch
                self._margin = margin
        self._success = answer.wrong
        self.done = answer.wrong or self._asked >= self._attack.budget

    def result(self, queries: int, reason: str | None = None) -> AttackResult:
        """Give the outcome; see ``AttackState.result``."""
        if self._success:
            reason = CLEAN_WRONG if self._asked == 1 else FOOLED
        return AttackResult(
            adversarial=self._best.copy(),
            queries=queries,
            success=self._success,
            reason=reason or BUDGET_SPENT,
            linf=linf_levels(self._best, self._image),
            ties=self._ties,
            margin=self._margin,
        )

    def _set_up(self) -> None:
        height, width = self._image.shape[:2]
        self._margin = float("nan")  # that of the clean image does not belong to the start
        self._corners = Corners(self._image, self._attack.eps)
        low, high = self._corners[0], self._corners[7]
        self._sides = square_schedule(self._attack.budget, height, width, self._attack.p_init)
        self._draws = _draws(self._rng)
        if self._start is None:
            self._best = stripes(low, high, self._rng)
        else:
            self._best = np.clip(self._start, low, high)

    def _propose_square(self, canvas: Image) -> None:
        if not self._moved:
            canvas[self._window] = self._below_patch
        height, width, _ = self._image.shape
        side = self._sides[self._asked - 2]
        place_word, colour_word = next(self._draws)
        # A 32-bit word becomes a number below a count by their product's upper half: uneven by at most count / 2**32.
        row = (place_word >> 32) * (height - side + 1) >> 32
        column = (place_word & _LOW_WORD) * (width - side + 1) >> 32
        window = slice(row, row + side), slice(column, column + side)
        colour = colour_word >> 61
        patch, below_patch = self._corners[colour][window], self._best[window]
        # Most squares differ in their first pixel already; the item is read much faster than the patch.
        if patch.item(0) == below_patch.item(0) and patch.tobytes() == below_patch.tobytes():
            # A query that changes nothing is wasted. The other seven colours all change something (eps >= 1), so this
            # draws as the reference's redraw until it changes does, without a loop.
            colour = (colour + 1 + ((colour_word & _LOW_WORD) * 7 >> 32)) & 7
            patch = self._corners[colour][window]
        canvas[window] = patch
        self._window, self._patch, self._below_patch = window, patch, below_patch


class Corners:
    """The eight corner images of the L-inf ball that move whole channels, each made when it is first asked for.

    Args:
        image: (H, W, 3) uint8.
        eps: Radius in grey levels, 1..255.
    """

    def __init__(self, image: Image, eps: int) -> None:
        low, high = bounds(image, eps)
        self._channels = cv2.split(low), cv2.split(high)
        self._made: list[Image | None] = [low, None, None, None, None, None, None, high]

    def __getitem__(self, colour: int) -> Image:
        """Give a corner, (H, W, 3) uint8: bits 4, 2, 1 of ``colour`` say which channels are at the upper bound."""
        corner = self._made[colour]
        return self._make(colour) if corner is None else corner

    def _make(self, colour: int) -> Image:
        bits = colour >> 2, colour >> 1 & 1, colour & 1
        corner: Image = cv2.merge([self._channels[bit][channel] for channel, bit in enumerate(bits)])
        self._made[colour] = corner
        return corner


def stripes(low: Image, high: Image, rng: np.random.Generator) -> Image:
    """Give the start of the search: every column at the lower or upper bound, drawn for each channel.

    Args:
        low: (H, W, 3) uint8, the lower bounds.
        high: (H, W, 3) uint8, the upper bounds.
        rng: Random stream; one raw word per column is taken.

    Returns:
        (H, W, 3) uint8.

    Reference:
        Andriushchenko et al. 2020, arXiv 1912.00049, section 4.1 ("vertical stripes of width one").
    """
    words = np.asarray(rng.bit_generator.random_raw(low.shape[1]))
    return chosen(signs_of((words[:, None] & _CHANNEL_BITS) != 0), low, high)


@lru_cache(maxsize=64)  # all images of a run share it
def square_schedule(budget: int, height: int, width: int, p_init: float) -> tuple[int, ...]:
    """Give the side of the square by iteration, the paper's schedule stretched over the budget.

    Args:
        budget: Queries of the run; iteration i of it is iteration ``floor(10000 i / budget)`` of the paper's.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        p_init: Share of the pixels in the first square.

    Returns:
        For each of ``budget`` iterations the side, ``round(sqrt(p height width))`` pixels, at least one and at most the
        shorter side of the image.

    Reference:
        Andriushchenko et al. 2020, arXiv 1912.00049, section 5: p halves after 10, 50, 200, 500, 1000, 2000, 4000, 6000
        and 8000 of 10 000 iterations.
    """
    sides = [round((p_init / 2**k * height * width) ** 0.5) for k in range(len(_HALVINGS) + 1)]
    fitting = [min(max(side, 1), height, width) for side in sides]
    return tuple(fitting[bisect_left(_HALVINGS, i * _RUN_LENGTH // budget)] for i in range(budget))


def _draws(rng: np.random.Generator) -> Iterator[list[int]]:
    """Give two 64-bit words per proposal, drawn in blocks, since one small draw costs as much as a block.

    Raw words are the same in every NumPy release; what ``Generator``'s methods make of them may change.
    """
    while True:
        yield from rng.bit_generator.random_raw(2 * _PROPOSALS_PER_BLOCK).reshape(-1, 2).tolist()
