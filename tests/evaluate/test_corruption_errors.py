"""Corruption errors against figures computed by hand from per-image answers."""

import numpy as np
import pytest

from robustmq_trt.core.record import Record
from robustmq_trt.evaluate.conditions import CLEAN, Condition
from robustmq_trt.evaluate.corruption_errors import ALEXNET, corruption_errors
from robustmq_trt.evaluate.corruptions.catalog import IMAGENET_C, IMAGENET_C_BAR
from robustmq_trt.evaluate.metrics import Study, records
from robustmq_trt.evaluate.results import Cell, Results

IMAGES = 200


def cell(correct: np.ndarray) -> Cell:
    return Cell(
        valid=np.ones(len(correct), bool),
        correct=correct,
        tied=np.zeros(len(correct), bool),
        prediction=np.zeros(len(correct), np.int64),
        queries=np.zeros(len(correct), np.int64),
        zero_gradient=np.zeros(len(correct)),
        reached=np.zeros(len(correct), dtype=bool),
        identity={},
    )


def study(names: list[str], *, classes: int = 1000) -> Study:
    """Two engines whose accuracy falls with the severity, the second's faster."""
    rng = np.random.default_rng(0)
    conditions = [CLEAN]
    cells = {(engine, "clean"): cell(rng.random(IMAGES) < 0.9) for engine in ("float", "int8")}
    for name in names:
        for severity in range(1, 6):
            condition = Condition(kind="corruption", name=name, settings=(("severity", severity),))
            conditions.append(condition)
            for engine, slope in (("float", 0.1), ("int8", 0.12)):
                cells[engine, condition.label] = cell(rng.random(IMAGES) < 0.9 - slope * severity)
    results = Results(cells=cells, missing={})
    return Study(results=results, engines=["float", "int8"], conditions=conditions, seed=0, classes=classes)


def find(found: list[Record], condition: str, metric: str) -> Record:
    (record,) = [r for r in found if (r.condition, r.metric) == (condition, metric)]
    return record


def error(made: Study, engine: str, label: str) -> float:
    return 1 - float(made.results.cells[engine, label].correct.mean())


def test_corruption_errors_are_ratios_of_sums() -> None:
    made = study(["fog", "snow"])
    sums = {who: sum(error(made, who, f"fog:{s}") for s in range(1, 6)) for who in made.engines}
    clean = {who: 5 * error(made, who, "clean") for who in made.engines}

    found = corruption_errors(made, "int8")

    assert find(found, "fog", "corruption_error").value == pytest.approx(sums["int8"] / sums["float"])
    relative = (sums["int8"] - clean["int8"]) / (sums["float"] - clean["float"])
    assert find(found, "fog", "relative_corruption_error").value == pytest.approx(relative)
    assert find(found, "fog", "corruption_error_alexnet").value == pytest.approx(sums["int8"] / 5 / 0.819324)
    assert find(found, "fog", "relative_drop").value == pytest.approx(1 - (5 - sums["int8"]) / (5 - clean["int8"]))
    difference = (sums["int8"] - clean["int8"] - sums["float"] + clean["float"]) / 5
    assert find(found, "fog", "drop_difference").value == pytest.approx(difference)


def test_the_mean_is_the_mean_of_the_ratios_and_only_the_15_make_an_mce() -> None:
    whole = corruption_errors(study(list(IMAGENET_C)), "int8")
    without_frost = corruption_errors(study([name for name in IMAGENET_C if name != "frost"]), "int8")

    single = [find(whole, name, "corruption_error").value for name in IMAGENET_C]
    assert find(whole, "corruptions", "mce").value == pytest.approx(np.mean(single))
    assert "mce_of_14" in {record.metric for record in without_frost}
    assert "mce" not in {record.metric for record in without_frost}
    assert "frost" not in find(without_frost, "corruptions", "mce_of_14").identity["corruptions"]


def test_the_interval_holds_the_value_and_shrinks_with_the_mean_over_corruptions() -> None:
    found = corruption_errors(study(list(IMAGENET_C)), "int8")

    mean, single = find(found, "corruptions", "mce"), find(found, "fog", "corruption_error")
    assert mean.low < mean.value < mean.high
    assert single.low < single.value < single.high
    assert mean.high - mean.low < single.high - single.low
    assert mean.n == IMAGES


def test_corruptions_outside_imagenet_c_or_without_a_severity_have_no_corruption_error() -> None:
    made = study(["frost_procedural", "gaussian_blur", "fog"])
    partial = Results(cells={place: c for place, c in made.results.cells.items() if place[1] != "fog:4"}, missing={})

    assert {record.condition for record in corruption_errors(made, "int8")} == {"fog", "corruptions"}
    without = Study(results=partial, engines=made.engines, conditions=made.conditions, seed=0, classes=1000)
    assert corruption_errors(without, "int8") == []


def test_the_two_families_have_means_of_their_own_and_neither_changes_the_others() -> None:
    both = corruption_errors(study([*IMAGENET_C, *IMAGENET_C_BAR]), "int8")
    alone = corruption_errors(study(list(IMAGENET_C)), "int8")

    assert find(both, "corruptions", "mce") == find(alone, "corruptions", "mce")
    single = [find(both, name, "corruption_error").value for name in IMAGENET_C_BAR]
    assert find(both, "corruptions", "mce_c_bar").value == pytest.approx(np.mean(single))
    assert find(both, "corruptions", "mce_c_bar").identity["corruptions"] == list(IMAGENET_C_BAR)
    assert {r.condition for r in both if r.metric == "corruption_error_alexnet"} == set(IMAGENET_C)


def test_an_incomplete_second_family_says_how_many_it_is_over() -> None:
    found = corruption_errors(study(["sparkles", "perlin_noise"]), "int8")

    assert find(found, "corruptions", "mce_c_bar_of_2").identity["corruptions"] == ["perlin_noise", "sparkles"]


def test_the_reference_has_no_error_against_itself_and_other_classes_none_against_alexnet() -> None:
    metrics = {record.metric for record in corruption_errors(study(["fog"], classes=10), "float")}

    assert metrics == {"relative_drop", "mean_relative_drop_of_1"}


def test_the_constants_cover_the_15_and_average_to_79_percent() -> None:
    assert list(ALEXNET) == list(IMAGENET_C)
    assert np.mean(list(ALEXNET.values())) == pytest.approx(0.789, abs=5e-5)


def test_the_records_of_a_run_hold_the_corruption_errors() -> None:
    assert find(records(study(["fog"])), "fog", "corruption_error").engine == "int8"
