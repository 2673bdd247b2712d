"""From cells of per-image answers to records: rates, paired comparisons with the reference, flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.record import Comparison, Record
from ..core.statistics import (
    Interval,
    PairedDifference,
    paired_bootstrap,
    paired_difference,
    wilson,
)
from .attacks.catalog import is_targeted, strength
from .conditions import CLEAN, Condition
from .corruption_errors import corruption_errors
from .masking import engine_flags, masked_conditions
from .paired import compare, with_verdicts
from .rates import record
from .results import Cell, Results
from .spread import percentile
from .survival import survival_records

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is to be aggregated.

    Attributes:
        results: The cells.
        engines: Names of the targets; the first is the reference of every paired test.
        conditions: The run's conditions.
        seed: Seed of the run; it also seeds the bootstrap.
        classes: Number of classes the engines tell apart.
    """

    results: Results
    engines: Sequence[str]
    conditions: Sequence[Condition]
    seed: int
    classes: int

    def cell(self, engine: str, condition: str) -> Cell | None:
        """Give a cell, or None where nothing was measured."""
        return self.results.cells.get((engine, condition))

    def clean(self, engine: str) -> Cell | None:
        """Give the engine's cell on unchanged images."""
        return self.cell(engine, CLEAN.label)

    @property
    def attacks(self) -> list[Condition]:
        """The conditions that are attacks and can be run."""
        return [c for c in self.conditions if c.kind == "attack" and not c.unsupported]


def records(study: Study) -> list[Record]:
    """Give every record of a run, comparisons adjusted by Holm over all of them.

    Metrics (c = right on the clean image, r = right under the condition, N = images the engine could be asked):
    ``accuracy`` = sum(r)/N; ``robust_accuracy`` = sum(c*r)/N; ``adversarial_robustness`` = sum(c*r)/sum(c), RobustMQ's
    AR with the engine's own denominator; ``common_correct_accuracy`` = the same over the images that all engines get
    right; ``flips_right_to_wrong`` and ``flips_wrong_to_right``, shares of images that flipped against the reference;
    ``mean_queries`` and ``median_queries``, failures counted as the queries they spent; ``targeted_success``, the share
    of the images right when clean that the engine takes for the class aimed at.
    """
    found: list[Record] = []
    for engine in study.engines:
        for condition in study.conditions:
            if study.cell(engine, condition.label) is None:
                continue
            found += _measure_of(condition)(study, engine, condition)
        found += _corruption_mean(study, engine) + corruption_errors(study, engine) + _worst_cases(study, engine)
    return with_verdicts(_with_flags(study, found))


def _measure_of(condition: Condition) -> Callable[[Study, str, Condition], list[Record]]:
    if condition.kind == "route" and condition.base != CLEAN:
        return survival_records
    return _attack_records if condition.kind == "attack" else _plain_records


def _plain_records(study: Study, engine: str, condition: Condition) -> list[Record]:
    cell = study.results.cells[engine, condition.label]
    share = wilson(int(cell.correct[cell.valid].sum()), int(cell.valid.sum()))
    found = [_record(study, engine, condition.label, "accuracy", share, identity=cell.identity)]
    if condition == CLEAN and share.low <= 1 / study.classes:
        found[0] = replace(found[0], flags=("near-chance",))
    reference = study.cell(study.engines[0], condition.label)
    if engine == study.engines[0] or reference is None:
        return found
    both = cell.valid & reference.valid
    if not both.any():
        return found
    difference = paired_difference(cell.correct[both], reference.correct[both], seed=study.seed)
    found[0] = replace(found[0], comparison=_comparison(study, difference))
    for metric, flips in (
        ("flips_right_to_wrong", difference.right_to_wrong),
        ("flips_wrong_to_right", difference.wrong_to_right),
    ):
        found.append(_record(study, engine, condition.label, metric, wilson(flips, difference.n)))
    return found


def _attack_records(study: Study, engine: str, condition: Condition) -> list[Record]:
    cell, clean = study.results.cells[engine, condition.label], study.clean(engine)
    if clean is None:
        return []
    held = clean.correct & cell.correct
    valid = cell.valid & clean.valid
    found = _robustness(study, engine, condition.label, held, valid, cell.identity)
    if is_targeted(condition):
        tried = valid & clean.correct
        reached = wilson(int(cell.reached[tried].sum()), int(tried.sum()))
        found.append(_record(study, engine, condition.label, "targeted_success", reached))
    spent = cell.queries[valid & clean.correct].astype(np.float64)
    if spent.any():
        mean = paired_bootstrap(spent, np.zeros_like(spent), seed=study.seed)
        found.append(_record(study, engine, condition.label, "mean_queries", mean, unit="queries"))
        median = percentile(spent, 0.5)
        found.append(_record(study, engine, condition.label, "median_queries", median, unit="queries"))
    return found


def _robustness(
    study: Study, engine: str, label: str, held: Bools, valid: Bools, identity: Mapping[str, object]
) -> list[Record]:
    """Give raw, AR and common-correct for the images that ``held`` (right before and under the attack)."""
    clean = study.results.cells[engine, CLEAN.label]
    raw = wilson(int(held[valid].sum()), int(valid.sum()))
    own = wilson(int(held[valid].sum()), int((clean.correct & valid).sum()))
    common = _common_correct(study, label) & valid
    shared = wilson(int(held[common].sum()), int(common.sum()))
    found = [
        _record(study, engine, label, "robust_accuracy", raw, identity=identity),
        _record(study, engine, label, "adversarial_robustness", own),
        _record(study, engine, label, "common_correct_accuracy", shared),
    ]
    reference = _reference_held(study, label)
    if engine == study.engines[0] or reference is None:
        return found
    reference_held, reference_valid = reference
    for place, images in ((0, valid & reference_valid), (2, common & reference_valid)):
        if images.any():
            difference = paired_difference(held[images], reference_held[images], seed=study.seed)
            found[place] = replace(found[place], comparison=_comparison(study, difference))
    return found


def _held(study: Study, engine: str, labels: Sequence[str]) -> tuple[Bools, Bools] | None:
    """Give (right under all of the conditions and on the clean image, valid in all), or None where one is missing."""
    cells = [study.cell(engine, label) for label in (CLEAN.label, *labels)]
    if any(cell is None for cell in cells):
        return None
    present = [cell for cell in cells if cell is not None]
    return _all([cell.correct for cell in present]), _all([cell.valid for cell in present])


def _reference_held(study: Study, label: str) -> tuple[Bools, Bools] | None:
    labels = _worst_case_members(study).get(label, [label])
    return _held(study, study.engines[0], labels)


def _common_correct(study: Study, label: str) -> Bools:
    """Tell which images every engine measured under the condition gets right when they are clean."""
    labels = _worst_case_members(study).get(label, [label])
    present = [
        clean
        for engine in study.engines
        if (clean := study.clean(engine)) is not None and _held(study, engine, labels) is not None
    ]
    return _all([cell.correct & cell.valid for cell in present])


def _all(masks: Sequence[Bools]) -> Bools:
    together: Bools = np.logical_and.reduce(masks)
    return together


def _worst_case_members(study: Study) -> dict[str, list[str]]:
    """Give the attacks behind each worst case, grouped by strength: only equal norm and eps make one threat model."""
    members: dict[str, list[str]] = {}
    for condition in study.attacks:
        members.setdefault(f"worst-case:{strength(condition)}", []).append(condition.label)
    return {label: attacks for label, attacks in members.items() if len(attacks) > 1}


def _worst_cases(study: Study, engine: str) -> list[Record]:
    found: list[Record] = []
    for label, attacks in _worst_case_members(study).items():
        held = _held(study, engine, attacks)
        if held is not None:
            found += _robustness(study, engine, label, *held, identity={"attacks": attacks})
    return found


def _corruption_mean(study: Study, engine: str) -> list[Record]:
    """Give the mean accuracy over all corruptions, each image weighing its share of corruptions survived."""
    labels = [condition.label for condition in study.conditions if condition.kind == "corruption"]
    shares = {name: _survived(study, name, labels) for name in (study.engines[0], engine)}
    mine, reference = shares[engine], shares[study.engines[0]]
    if len(labels) < 2 or mine is None or not mine[1].any():
        return []
    share, valid = mine
    mean = paired_bootstrap(share[valid], np.zeros(int(valid.sum())), seed=study.seed)
    mean_record = _record(study, engine, "corruptions", "mean_accuracy", mean, identity={"corruptions": labels})
    if engine == study.engines[0] or reference is None:
        return [mean_record]
    both = valid & reference[1]
    if not both.any():
        return [mean_record]
    comparison = compare(study.engines[0], share[both], reference[0][both], study.seed)
    return [replace(mean_record, comparison=comparison)]


def _survived(study: Study, engine: str, labels: Sequence[str]) -> tuple[NDArray[np.float64], Bools] | None:
    cells = [study.cell(engine, label) for label in labels]
    if not cells or any(cell is None for cell in cells):
        return None
    present = [cell for cell in cells if cell is not None]
    share = np.mean([cell.correct for cell in present], axis=0)
    return share, _all([cell.valid for cell in present])


def _record(
    study: Study,
    engine: str,
    condition: str,
    metric: str,
    interval: Interval,
    *,
    unit: str = "share",
    identity: Mapping[str, object] | None = None,
) -> Record:
    return record(engine, condition, metric, interval, study.seed, identity=identity, unit=unit)


def _comparison(study: Study, difference: PairedDifference) -> Comparison:
    return Comparison(
        reference=study.engines[0],
        difference=difference.difference,
        low=difference.low,
        high=difference.high,
        p_value=difference.p_value,
        p_holm=difference.p_value,
        wrong_to_right=difference.wrong_to_right,
        right_to_wrong=difference.right_to_wrong,
        detectable=difference.detectable,
        verdict="not distinguishable",
    )


def _with_flags(study: Study, found: Sequence[Record]) -> list[Record]:
    by_engine = {engine: engine_flags(study.clean(engine)) for engine in study.engines}
    masked = masked_conditions(study.results, study.engines, study.attacks)
    attacks = {condition.label for condition in study.attacks} | set(_worst_case_members(study))
    flagged = []
    for entry in found:
        attack = entry.condition.partition(" via ")[0]  # what is wrong with an attack is wrong with it on every route
        flags = by_engine[entry.engine] if attack in attacks else ()
        flagged.append(replace(entry, flags=(*entry.flags, *flags, *masked.get((entry.engine, attack), ()))))
    return flagged
