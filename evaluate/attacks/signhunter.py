"""SignHunter on the uint8 grid: signs turned block by block, coarse to fine, kept while the margin does not rise."""

from __future__ import annotations

from .rays import blocks, first_signs, turned
from .reach import bounds, chosen
from .walk import Scene, Search


def signhunter(scene: Scene) -> Search:
    """Estimate the sign of the gradient by turning one block of signs at a time, halved from pass to pass.

    Reference:
        Al-Dujaili, O'Reilly 2020, "Sign bits are all you need for black-box attacks" (ICLR), Algorithms 1 and 2.
        Differences: equal margins are accepted, since integer engines tie; success is the production argmax.
    """
    yield from scene.opening()
    low, high = bounds(scene.image, scene.eps)
    signs = first_signs(scene.image, scene.start)
    answer = yield chosen(signs, low, high)
    margin = answer.margin
    for block in blocks(signs.size):
        attempt = turned(signs, block)
        answer = yield chosen(attempt, low, high)
        if answer.margin <= margin:
            signs, margin = attempt, answer.margin
