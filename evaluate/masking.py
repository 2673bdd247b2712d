"""When a robustness figure is not to be believed: evidence that the attack failed, not that the engine held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from ..core.statistics import mcnemar_exact
from .attacks.catalog import bound_name, is_learned, is_transfer, needs_surrogate, norm_of, strength
from .conditions import CLEAN, Condition
from .results import Cell, Results

TIE_LIMIT = 0.005
ZERO_GRADIENT_LIMIT = 0.01
_SIGNIFICANCE = 0.05
_BASELINES = ("noise", "patch_control")
_UNBOUNDED = 255  # every uint8 image lies this close in L-inf
_FLOOR = 0.05  # a share held that is too small to fall further
_ENOUGH = 30  # of fewer images, equal counts say nothing
_EFFORT = ("steps", "queries")


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
    """Find the attack figures with evidence of gradient masking. Only attacks of equal norm and eps are compared.

    ``zero-gradients``: more than 1 % of the gradient entries behind a transfer attack were exactly zero.
    ``weaker-than-transfer``: a query attack leaves significantly more images right than a transfer attack of the same
    strength does on the same engine (exact McNemar, p < 0.05), so the figure overstates the engine; the worst case
    counts.
    ``weaker-than-queries``: an iterated attack on the gradients of the engine's own file leaves significantly more
    images right than a query attack of the same strength, which saw scores or labels alone: its gradients do not show
    the way, as with rounding that lets none through.
    ``masking-suspected``: a query attack finds an engine significantly more robust than the reference, and no transfer
    attack of the same strength does: what is more robust for one family only is hidden, not robust.
    ``no-better-than-noise``: the attack does not leave significantly fewer images right than ``noise`` of the same
    strength, or a patch than a patch of noise.
    ``flat-in-eps``: the same attack leaves no fewer of 30 or more images right than at a smaller eps or area, and more
    than 5 % of them.
    ``worse-with-steps``: the same attack leaves significantly more images right than with fewer steps or queries.
    ``broken-attack``: the same attack without a bound (L-inf, eps 255) leaves more than 5 % of the images right. One
    learned perturbation does so even then: it makes one picture of all images, which is right for some.

    Returns:
        (engine, condition label) to its flags, only where there are any.

    Reference:
        Athalye et al. 2018, arXiv 1802.00420, section 3.1; Carlini et al. 2019, arXiv 1902.06705, sections 4.2 and 4.3.
    """
    flags: dict[tuple[str, str], tuple[str, ...]] = {}
    for engine in engines:
        case = _Case(results=results, reference=engines[0], engine=engine, attacks=attacks)
        for attack in case.measured:
            found = tuple(
                flag for flag, holds in _EVIDENCE.items() if attack.name not in _BASELINES and holds(case, attack)
            )
            if found:
                flags[engine, attack.label] = found
    return flags


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One engine under suspicion."""

    results: Results
    reference: str
    engine: str
    attacks: Sequence[Condition]

    @property
    def measured(self) -> list[Condition]:
        """The attacks that this engine was shown, if its clean answers are known."""
        known = (self.engine, CLEAN.label) in self.results.cells
        return [a for a in self.attacks if known and (self.engine, a.label) in self.results.cells]

    def cell(self, attack: Condition) -> Cell:
        return self.results.cells[self.engine, attack.label]

    def equally_strong(self, attack: Condition) -> list[Condition]:
        return [other for other in self.measured if strength(other) == strength(attack)]

    def transfers(self, attack: Condition) -> list[Condition]:
        return [other for other in self.equally_strong(attack) if is_transfer(other)]

    def queries(self, attack: Condition) -> list[Condition]:
        return [other for other in self.equally_strong(attack) if not needs_surrogate(other)]

    def white_box(self, attack: Condition) -> bool:
        """Tell whether an attack was made on the gradients of this engine's own file."""
        identity = self.cell(attack).identity
        target, surrogate = identity.get("target"), identity.get("surrogate")
        own = surrogate is not None and isinstance(target, Mapping) and target.get("sha256") == surrogate
        return own and is_transfer(attack)

    def same_but(self, attack: Condition, *settings: str) -> list[Condition]:
        return [other for other in self.measured if _without(other, settings) == _without(attack, settings)]

    def holds_more(self, under: Condition, than_under: Condition) -> bool:
        """Tell whether the engine holds on significantly more images under one attack than under another."""
        clean = self.cell(CLEAN)
        return _gains(self.cell(than_under), self.cell(under), clean, clean)

    def held(self, attack: Condition) -> tuple[int, int]:
        """Give on how many images the engine holds, and how many it gets right when clean."""
        cell, clean = self.cell(attack), self.cell(CLEAN)
        tried = cell.valid & clean.valid & clean.correct
        return int((tried & cell.correct).sum()), int(tried.sum())

    def more_robust(self, attack: Condition) -> bool:
        """Tell whether this engine holds on significantly more images under an attack than the reference does."""
        cells = [self.results.cells.get((self.reference, label)) for label in (CLEAN.label, attack.label)]
        if self.engine == self.reference or cells[0] is None or cells[1] is None:
            return False
        return _gains(cells[1], self.cell(attack), cells[0], self.cell(CLEAN))


def _zero_gradients(case: _Case, attack: Condition) -> bool:
    cell = case.cell(attack)
    tried = cell.valid & case.cell(CLEAN).correct
    return bool(tried.any() and cell.zero_gradient[tried].mean() > ZERO_GRADIENT_LIMIT)


def _weaker_than_transfer(case: _Case, attack: Condition) -> bool:
    return not is_transfer(attack) and any(case.holds_more(attack, other) for other in case.transfers(attack))


def _weaker_than_queries(case: _Case, attack: Condition) -> bool:
    iterated = "steps" in dict(attack.settings) and not is_learned(attack)
    return iterated and case.white_box(attack) and any(case.holds_more(attack, one) for one in case.queries(attack))


def _masking_suspected(case: _Case, attack: Condition) -> bool:
    compared = [case.more_robust(other) for other in case.transfers(attack)]
    return not is_transfer(attack) and bool(compared) and case.more_robust(attack) and not any(compared)


def _no_better_than_noise(case: _Case, attack: Condition) -> bool:
    baselines = [other for other in case.equally_strong(attack) if other.name in _BASELINES]
    return case.held(attack)[0] > 0 and any(not case.holds_more(other, attack) for other in baselines)


def _flat_in_eps(case: _Case, attack: Condition) -> bool:
    held, tried = case.held(attack)
    bound = bound_name(attack)
    smaller = [other for other in case.same_but(attack, bound) if other[bound] < attack[bound]]
    return tried >= _ENOUGH and held > _FLOOR * tried and any(held >= case.held(other)[0] for other in smaller)


def _worse_with_steps(case: _Case, attack: Condition) -> bool:
    fewer = [other for other in case.same_but(attack, *_EFFORT) if _effort(other) < _effort(attack)]
    return any(case.holds_more(attack, other) for other in fewer)


def _broken(case: _Case, attack: Condition) -> bool:
    if norm_of(attack) != "linf" or is_learned(attack):
        return False
    unbounded = [other for other in case.same_but(attack, "eps") if other["eps"] == _UNBOUNDED]
    return any(held > _FLOOR * tried for held, tried in map(case.held, unbounded))


_EVIDENCE: Mapping[str, Callable[[_Case, Condition], bool]] = MappingProxyType(
    {
        "zero-gradients": _zero_gradients,
        "weaker-than-transfer": _weaker_than_transfer,
        "weaker-than-queries": _weaker_than_queries,
        "masking-suspected": _masking_suspected,
        "no-better-than-noise": _no_better_than_noise,
        "flat-in-eps": _flat_in_eps,
        "worse-with-steps": _worse_with_steps,
        "broken-attack": _broken,
    }
)


def _without(attack: Condition, settings: Sequence[str]) -> Condition:
    return replace(attack, settings=tuple(pair for pair in attack.settings if pair[0] not in settings))


def _effort(attack: Condition) -> int:
    return sum(value for key, value in attack.settings if key in _EFFORT)


def _gains(before: Cell, after: Cell, clean_before: Cell, clean_after: Cell) -> bool:
    """Tell whether ``after`` holds on significantly more of the images that both get right when clean."""
    tried = before.valid & after.valid & clean_before.correct & clean_after.correct
    gained = int(np.sum(tried & ~before.correct & after.correct))
    lost = int(np.sum(tried & before.correct & ~after.correct))
    return gained > lost and mcnemar_exact(gained, lost) < _SIGNIFICANCE
