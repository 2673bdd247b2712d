"""NES on the uint8 grid: signed steps along a gradient estimated from pairs of random probes, kept as an anchor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .margins import MarginReader
from .protocol import Image, check_eps_and_budget, check_start
from .walk import Search, Walk, in_linf_ball

_PAIRS = 10
# In grey levels: the paper's 0.001 of 1 is a quarter of a level, which uint8 rounds away.
_SIGMA = 2.0
_DECAY = np.float32(0.9)


@dataclass(frozen=True, kw_only=True)
class NesLinf:
    """Climbs along the gradient of a smoothed margin, in whole grey levels.

    Attributes:
        eps: Radius in grey levels, 1..255.
        budget: Most queries per image, the clean check included.

    Raises:
        InputError: If a setting is outside its range.

    Reference:
        Ilyas, Engstrom, Athalye, Lin 2018, arXiv 1804.08598, Algorithm 1 with antithetic probes and momentum 0.9.
        Differences: probes of 2 grey levels, 10 pairs per step instead of 25, steps of a quarter of eps, at least one
        level; the margin instead of the probability.
    """

    eps: int
    budget: int = 1000

    def __post_init__(self) -> None:
        check_eps_and_budget(self.eps, self.budget)

    @property
    def task(self) -> str:
        """What to key the random streams with."""
        return f"nes:eps={self.eps}"

    def begin(self, image: Image, label: int, rng: np.random.Generator, start: Image | None = None) -> Walk:
        """Give the state that attacks one image; see ``QueryAttack.begin``."""
        image, start = check_start(image, start)
        wide = image.astype(np.int16)
        low, high = (np.clip(wide + side * self.eps, 0, 255).astype(np.uint8) for side in (-1, 1))
        begun = image if start is None else np.clip(start, low, high)
        return Walk(
            image,
            label,
            budget=self.budget,
            inside=in_linf_ball(image, self.eps),
            search=_search(begun, low, high, label, rng, max(1, self.eps // 4)),
            start=None if start is None else begun,
        )


def _search(image: Image, low: Image, high: Image, label: int, rng: np.random.Generator, step: int) -> Search:
    reader = MarginReader(label)
    momentum = np.zeros(image.shape, dtype=np.float32)
    while True:
        gradient = np.zeros(image.shape, dtype=np.float32)
        for _ in range(_PAIRS):
            probe = np.rint(_SIGMA * rng.standard_normal(image.shape, dtype=np.float32))
            above = yield _clipped(image + probe, low, high)
            margin = reader.read(above)
            below = yield _clipped(image - probe, low, high)
            gradient += np.float32(margin - reader.read(below)) * probe
        momentum = _DECAY * momentum + (1 - _DECAY) * gradient
        image = _clipped(image - step * np.sign(momentum), low, high)
        yield image


def _clipped(pixels: NDArray[np.float32], low: Image, high: Image) -> Image:
    clipped: Image = np.clip(pixels, low, high).astype(np.uint8)
    return clipped
