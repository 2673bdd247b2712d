"""Flags and curves of attacks that are learned on other images, one of which has an area and no eps."""

from collections.abc import Mapping

import numpy as np

from robustmq_trt.evaluate.attacks.catalog import parse_attack
from robustmq_trt.evaluate.conditions import CLEAN
from robustmq_trt.evaluate.curves import curves
from robustmq_trt.evaluate.masking import masked_conditions
from robustmq_trt.evaluate.metrics import Study, records
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


def study(held: Mapping[str, int]) -> Study:
    """Give a run of one engine that holds on so many images under each attack."""
    attacks = [parse_attack(spec) for spec in held]
    cells = {("int8", attack.label): cell(count) for attack, count in zip(attacks, held.values(), strict=True)}
    return Study(
        results=Results(cells={("int8", "clean"): cell(N), **cells}, missing={}),
        engines=["int8"],
        conditions=[CLEAN, *attacks],
        seed=0,
        classes=10,
    )


def flags(held: Mapping[str, int], spec: str) -> tuple[str, ...]:
    made = study(held)
    found = masked_conditions(made.results, made.engines, made.attacks)
    return found.get(("int8", parse_attack(spec).label), ())


def test_a_patch_that_finds_no_more_than_noise_of_its_area_is_flagged() -> None:
    assert flags({"patch:area=5": 40, "patch_control:area=5": 41}, "patch:area=5") == ("no-better-than-noise",)
    assert flags({"patch:area=5": 20, "patch_control:area=5": 41}, "patch:area=5") == ()
    assert flags({"patch:area=5": 40, "patch_control:area=10": 41}, "patch:area=5") == ()


def test_a_patch_that_finds_no_more_with_a_larger_area_is_flagged() -> None:
    assert flags({"patch:area=5": 40, "patch:area=10": 40}, "patch:area=10") == ("flat-in-eps",)
    assert flags({"patch:area=5": 40, "patch:area=10": 30}, "patch:area=10") == ()


def test_one_perturbation_for_all_images_is_not_broken_for_holding_on_one_class_without_a_bound() -> None:
    assert flags({"universal:eps=8": 40, "universal:eps=255": 6}, "universal:eps=8") == ()
    assert flags({"mifgsm:eps=8": 40, "mifgsm:eps=255": 6}, "mifgsm:eps=8") == ("broken-attack",)


def test_attacks_bounded_by_area_have_a_curve_and_a_worst_case_of_their_own() -> None:
    made = study({"patch:area=5": 40, "patch:area=10": 30, "patch_control:area=5": 50, "universal:eps=8": 20})

    drawn = {curve.title: curve for curve in curves(made)}
    worst = [r for r in records(made) if r.condition.startswith("worst-case") and r.metric == "robust_accuracy"]

    assert [point.x for point in drawn["patch"].series["int8"]] == [0, 5, 10]
    assert drawn["patch"].x_label == "area in % of the image (0: clean)"
    assert [(record.condition, record.value) for record in worst] == [("worst-case:norm=patch,area=5", 40 / N)]
