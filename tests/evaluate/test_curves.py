"""Curves against figures counted by hand from per-image answers."""

import numpy as np

from robustmq_trt.core.statistics import wilson
from robustmq_trt.evaluate.attacks.catalog import parse_attack
from robustmq_trt.evaluate.conditions import CLEAN, Condition
from robustmq_trt.evaluate.curves import Curve, curves
from robustmq_trt.evaluate.metrics import Study
from robustmq_trt.evaluate.results import Cell, Results
from robustmq_trt.evaluate.suites import corruption_condition


def cell(correct: str, queries: tuple[int, ...] = ()) -> Cell:
    """Make a cell from a string of 1 (right), 0 (wrong) and - (undecodable)."""
    n = len(correct)
    return Cell(
        valid=np.array([letter != "-" for letter in correct]),
        correct=np.array([letter == "1" for letter in correct]),
        tied=np.zeros(n, bool),
        prediction=np.zeros(n, np.int64),
        queries=np.array(queries or (0,) * n),
        zero_gradient=np.zeros(n),
        reached=np.zeros(n, bool),
        identity={},
    )


def drawn(cells: dict[Condition, Cell]) -> dict[str, Curve]:
    results = Results(cells={("net", condition.label): found for condition, found in cells.items()}, missing={})
    study = Study(results=results, engines=["net"], conditions=list(cells), seed=0, classes=10)
    return {curve.title: curve for curve in curves(study)}


def places(curve: Curve) -> list[tuple[float, float, int]]:
    return [(point.x, round(point.y, 6), point.n) for point in curve.series["net"]]


def test_a_corruption_runs_over_its_severities_from_the_clean_images_on():
    found = drawn(
        {
            CLEAN: cell("1110"),
            corruption_condition("motion_blur:5"): cell("1000"),
            corruption_condition("motion_blur:2"): cell("110-"),
        }
    )

    assert places(found["motion blur"]) == [(0, 0.75, 4), (2, round(2 / 3, 6), 3), (5, 0.25, 4)]
    lowest = found["motion blur"].series["net"][2]
    assert (lowest.low, lowest.high) == (wilson(1, 4).low, wilson(1, 4).high)


def test_an_image_that_is_wrong_when_clean_does_not_hold_under_attack():
    found = drawn({CLEAN: cell("1100"), parse_attack("fgsm:eps=2"): cell("1011")})

    assert places(found["fgsm"]) == [(0, 0.5, 4), (2, 0.25, 4)]


def test_attacks_that_differ_in_more_than_their_strength_have_curves_of_their_own():
    specs = ("square:eps=2,queries=9", "square:eps=4,queries=9", "square:eps=4,queries=9,start=mifgsm")

    found = drawn({CLEAN: cell("1111"), **{parse_attack(spec): cell("1110", (9,) * 4) for spec in specs}})

    assert [x for x, *_ in places(found["square:queries=9"])] == [0, 2, 4]
    assert [x for x, *_ in places(found["square:queries=9,start=mifgsm"])] == [0, 4]
    assert {"square at eps 4/255", "square:start=mifgsm at eps 4/255"} <= set(found)


def test_an_image_falls_at_the_query_that_fooled_the_engine():
    attack = parse_attack("square:eps=8,queries=20")

    found = drawn({CLEAN: cell("111110"), attack: cell("00011-", (2, 10, 20, 20, 20, 0))})

    falling = [(x, round(5 * y)) for x, y, n in places(found["square at eps 8/255"]) if n == 5]
    assert falling == [(1, 5), (2, 4), (5, 4), (10, 3), (20, 2)]
