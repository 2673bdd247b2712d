"""When a robustness figure is not to be believed: evidence that the attack failed, not that the engine held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..core.statistics import mcnemar_exact
from .conditions import CLEAN, Condition
from .results import Cell, Results

TIE_LIMIT = 0.005
ZERO_GRADIENT_LIMIT = 0.01
_SIGNIFICANCE = 0.05
_QUERY_SETTING = "queries"


def engine_flags(clean: Cell | None) -> tuple[str, ...]:
    """Give the flags that every attack figure of an engine carries, from its answers to clean images.

    ``many-ties``: more than 0.5 % of clean images share the highest score among classes, so the scores form plateaus
    that hide the direction from a query attack.
    """
    if clean is None or not clean.valid.any():
        return ()
    return ("many-ties",) if clean.tied[clean.valid].mean() > TIE_LIMIT else ()


def masked_conditions(
    results: Results, engines: Sequence[str], attacks: Sequence[Condition]
) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Find the attack figures with evidence of gradient masking.

    ``weaker-than-transfer``: a query attack leaves significantly more images right than a transfer attack of the same
    eps does on the same engine (exact McNemar, p < 0.05), so the figure overstates the engine; the worst case counts.
    ``masking-suspected``: a query attack finds an engine significantly more robust than the reference, and no transfer
    attack of the same eps does: what is more robust for one family only is hidden, not robust.
    ``zero-gradients``: more than 1 % of the gradient entries behind a transfer attack were exactly zero.

    Returns:
        (engine, condition label) to its flags, only where there are any.
    """
    flags: dict[tuple[str, str], tuple[str, ...]] = {}
    for engine in engines:
        for attack in attacks:
            found = _flags_of(results, engines[0], engine, attack, attacks)
            if found:
                flags[engine, attack.label] = found
    return flags


def _flags_of(
    results: Results, reference: str, engine: str, attack: Condition, attacks: Sequence[Condition]
) -> tuple[str, ...]:
    cell, clean = results.cells.get((engine, attack.label)), results.cells.get((engine, CLEAN.label))
    if cell is None or clean is None:
        return ()
    found = []
    tried = cell.valid & clean.correct
    if tried.any() and cell.zero_gradient[tried].mean() > ZERO_GRADIENT_LIMIT:
        found.append("zero-gradients")
    if _is_query(attack):
        transfers = [other.label for other in attacks if not _is_query(other) and other["eps"] == attack["eps"]]
        measured = [label for label in transfers if (engine, label) in results.cells]
        if any(_gains(results.cells[engine, label], cell, clean, clean) for label in measured):
            found.append("weaker-than-transfer")
        compared = [_more_robust(results, reference, engine, label) for label in measured]
        if compared and _more_robust(results, reference, engine, attack.label) and not any(compared):
            found.append("masking-suspected")
    return tuple(found)


def _is_query(attack: Condition) -> bool:
    return _QUERY_SETTING in dict(attack.settings)


def _more_robust(results: Results, reference: str, engine: str, label: str) -> bool:
    """Tell whether an engine holds on significantly more images under an attack than the reference does."""
    cells = [results.cells.get(place) for place in ((reference, CLEAN.label), (reference, label))]
    if engine == reference or cells[0] is None or cells[1] is None:
        return False
    return _gains(cells[1], results.cells[engine, label], cells[0], results.cells[engine, CLEAN.label])


def _gains(before: Cell, after: Cell, clean_before: Cell, clean_after: Cell) -> bool:
    """Tell whether ``after`` holds on significantly more of the images that both get right when clean."""
    tried = before.valid & after.valid & clean_before.correct & clean_after.correct
    gained = int(np.sum(tried & ~before.correct & after.correct))
    lost = int(np.sum(tried & before.correct & ~after.correct))
    return gained > lost and mcnemar_exact(gained, lost) < _SIGNIFICANCE
