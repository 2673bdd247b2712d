"""Flags against answers written out by hand: each piece of evidence, and what is no evidence."""

from collections.abc import Mapping

import numpy as np
import pytest

from robustmq_trt.evaluate.attacks.catalog import parse_attack, strength
from robustmq_trt.evaluate.masking import masked_conditions
from robustmq_trt.evaluate.results import Cell, Results

N = 60


def cell(held: int) -> Cell:
    """Make the answers to ``N`` images of which the first ``held`` are right."""
    return Cell(
        valid=np.ones(N, dtype=np.bool_),
        correct=np.arange(N) < held,
        tied=np.zeros(N, dtype=np.bool_),
        prediction=np.zeros(N, dtype=np.int64),
        queries=np.zeros(N, dtype=np.int64),
        zero_gradient=np.zeros(N),
        reached=np.zeros(N, dtype=bool),
        identity={},
    )


def flags(held: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Give the flags of one engine that holds on so many images under each attack."""
    attacks = [parse_attack(spec) for spec in held]
    cells = {("int8", attack.label): cell(count) for attack, count in zip(attacks, held.values(), strict=True)}
    found = masked_conditions(Results(cells={("int8", "clean"): cell(N), **cells}, missing={}), ["int8"], attacks)
    return {spec: found.get(("int8", attack.label), ()) for spec, attack in zip(held, attacks, strict=True)}


def test_attacks_of_equal_eps_in_another_norm_are_not_compared() -> None:
    found = flags({"square_l2:eps=127": 50, "mifgsm:eps=127": 0, "pgd_l1:eps=127": 0})

    assert found["square_l2:eps=127"] == ()


def test_attacks_of_equal_eps_and_norm_are_compared_whatever_the_norm() -> None:
    assert flags({"square_l2:eps=127": 50, "pgd_l2:eps=127": 0})["square_l2:eps=127"] == ("weaker-than-transfer",)


@pytest.mark.parametrize(
    ("spec", "written"), [("square:eps=8", "eps=8"), ("pgd_l2:eps=510", "norm=l2,eps=510"), ("noise:eps=2", "eps=2")]
)
def test_a_strength_is_written_with_its_norm_where_it_is_not_linf(spec: str, written: str) -> None:
    assert strength(parse_attack(spec)) == written


@pytest.mark.parametrize(
    ("small", "large", "flagged"),
    [(40, 40, True), (40, 45, True), (40, 39, False), (2, 2, False), (0, 0, False)],
)
def test_robust_accuracy_that_does_not_fall_with_eps_is_flagged(small: int, large: int, flagged: bool) -> None:
    found = flags({"mifgsm:eps=2": small, "mifgsm:eps=8": large})

    assert found["mifgsm:eps=2"] == ()
    assert found["mifgsm:eps=8"] == (("flat-in-eps",) if flagged else ())


def test_only_the_same_attack_is_followed_over_eps() -> None:
    found = flags({"mifgsm:eps=2,steps=20": 30, "square:eps=4,queries=100": 30, "square:eps=8,start=mifgsm": 40})

    assert set(found.values()) == {()}


@pytest.mark.parametrize(("few", "many"), [("mifgsm:steps=10", "mifgsm:steps=40"), ("rays", "rays:queries=5000")])
def test_an_attack_that_finds_significantly_less_with_more_steps_is_flagged(few: str, many: str) -> None:
    assert flags({few: 20, many: 30})[many] == ("worse-with-steps",)
    assert flags({few: 20, many: 22})[many] == ()
    assert flags({few: 30, many: 20}) == {few: (), many: ()}


@pytest.mark.parametrize(("held", "flagged"), [(30, True), (4, True), (3, False), (0, False)])
def test_an_attack_that_fails_without_a_bound_is_broken_at_every_eps(held: int, flagged: bool) -> None:
    found = flags({"square:eps=8": 59, "square:eps=255": held, "rays:eps=8": 50})

    assert ("broken-attack" in found["square:eps=8"]) == flagged
    assert ("broken-attack" in found["square:eps=255"]) == flagged
    assert found["rays:eps=8"] == ()


def test_a_large_eps_in_l2_is_not_without_a_bound() -> None:
    assert flags({"square_l2:eps=255": 50})["square_l2:eps=255"] == ()


@pytest.mark.parametrize(("held", "flagged"), [(50, True), (47, True), (40, False)])
def test_an_attack_not_significantly_better_than_noise_is_flagged(held: int, flagged: bool) -> None:
    found = flags({"square:eps=8": held, "noise:eps=8": 50, "noise:eps=4": 0})

    assert found["square:eps=8"] == (("no-better-than-noise",) if flagged else ())
    assert found["noise:eps=8"] == ()


def test_an_attack_that_leaves_nothing_needs_not_beat_noise() -> None:
    assert flags({"square:eps=255": 0, "noise:eps=255": 0})["square:eps=255"] == ()


def test_noise_itself_claims_nothing_and_is_never_flagged() -> None:
    found = flags({"noise:eps=8": 60, "noise:eps=16": 60, "noise:eps=255": 60, "mifgsm:eps=8": 0})

    assert {found[spec] for spec in found if spec.startswith("noise")} == {()}
