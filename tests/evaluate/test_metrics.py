"""Records against figures computed by hand from per-image answers."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from robustmq_trt.core.record import Record
from robustmq_trt.core.statistics import mcnemar_exact, wilson
from robustmq_trt.evaluate.conditions import CLEAN, Condition
from robustmq_trt.evaluate.metrics import Study, records
from robustmq_trt.evaluate.results import Cell, Results

SQUARE = Condition(kind="attack", name="square", settings=(("eps", 8), ("queries", 100)))
TRANSFER = Condition(kind="attack", name="mifgsm", settings=(("eps", 8), ("steps", 10)))
NOISE = Condition(kind="corruption", name="gaussian_noise", settings=(("severity", 3),))
BLUR = Condition(kind="corruption", name="motion_blur", settings=(("severity", 3),))


def cell(correct: str, **columns: object) -> Cell:
    """Make a cell from a string of 1 (right), 0 (wrong) and - (undecodable)."""
    n = len(correct)
    fields = {
        "valid": np.array([letter != "-" for letter in correct]),
        "correct": np.array([letter == "1" for letter in correct]),
        "tied": np.zeros(n, dtype=bool),
        "prediction": np.zeros(n, dtype=np.int64),
        "queries": np.zeros(n, dtype=np.int64),
        "zero_gradient": np.zeros(n),
        "reached": np.zeros(n, dtype=bool),
        "identity": {},
    }
    return Cell(**{**fields, **columns})


def study(cells: Mapping[tuple[str, str], Cell], *conditions: Condition) -> Study:
    engines = list(dict.fromkeys(engine for engine, _ in cells))
    return Study(
        results=Results(cells=cells, missing={}), engines=engines, conditions=[CLEAN, *conditions], seed=0, classes=10
    )


def find(found: list[Record], engine: str, condition: str, metric: str) -> Record:
    matches = [r for r in found if (r.engine, r.condition, r.metric) == (engine, condition, metric)]
    assert len(matches) == 1, [(r.engine, r.condition, r.metric) for r in found]
    return matches[0]


def test_accuracy_counts_valid_images_only():
    found = records(study({("float", "clean"): cell("110-")}))

    record = find(found, "float", "clean", "accuracy")

    assert (record.value, record.n) == (pytest.approx(2 / 3), 3)
    assert (record.low, record.high) == pytest.approx((wilson(2, 3).low, wilson(2, 3).high))


def test_flips_are_counted_both_ways_against_the_reference():
    found = records(study({("float", "clean"): cell("111100"), ("int8", "clean"): cell("110010")}))

    assert find(found, "int8", "clean", "flips_right_to_wrong").value == pytest.approx(2 / 6)
    assert find(found, "int8", "clean", "flips_wrong_to_right").value == pytest.approx(1 / 6)
    comparison = find(found, "int8", "clean", "accuracy").comparison
    assert comparison is not None
    assert (comparison.right_to_wrong, comparison.wrong_to_right) == (2, 1)
    assert comparison.difference == pytest.approx(-1 / 6)
    assert comparison.p_value == mcnemar_exact(1, 2)
    assert comparison.verdict == "not distinguishable"


def test_raw_ar_and_common_correct_stand_side_by_side():
    cells = {
        ("float", "clean"): cell("11110000"),
        ("float", SQUARE.label): cell("10100000"),
        ("int8", "clean"): cell("11011000"),
        ("int8", SQUARE.label): cell("10011100"),  # the sixth is right only under attack: it never counts
    }

    found = records(study(cells, SQUARE))

    assert find(found, "float", SQUARE.label, "robust_accuracy").value == pytest.approx(2 / 8)
    assert find(found, "float", SQUARE.label, "adversarial_robustness").value == pytest.approx(2 / 4)
    assert find(found, "float", SQUARE.label, "common_correct_accuracy").value == pytest.approx(1 / 3)
    assert find(found, "int8", SQUARE.label, "robust_accuracy").value == pytest.approx(3 / 8)
    assert find(found, "int8", SQUARE.label, "adversarial_robustness").value == pytest.approx(3 / 4)
    common = find(found, "int8", SQUARE.label, "common_correct_accuracy")
    assert (common.value, common.n) == (pytest.approx(2 / 3), 3)
    assert common.comparison is not None
    assert common.comparison.wrong_to_right == 1


def test_common_correct_compares_only_images_that_both_engines_were_asked_about():
    cells = {
        ("float", "clean"): cell("11111"),
        ("float", SQUARE.label): cell("110--"),  # the last two were never attacked: they are not lost
        ("int8", "clean"): cell("11111"),
        ("int8", SQUARE.label): cell("10111"),
    }

    found = records(study(cells, SQUARE))

    comparison = find(found, "int8", SQUARE.label, "common_correct_accuracy").comparison
    assert comparison is not None
    assert (comparison.wrong_to_right, comparison.right_to_wrong) == (1, 1)
    assert comparison.difference == 0


def test_worst_case_is_the_per_image_and_over_attacks_of_one_strength():
    cells = {
        ("int8", "clean"): cell("1111"),
        ("int8", SQUARE.label): cell("1100"),
        ("int8", TRANSFER.label): cell("1010"),
    }

    found = records(study(cells, SQUARE, TRANSFER))

    assert find(found, "int8", "worst-case:eps=8", "robust_accuracy").value == pytest.approx(1 / 4)


def test_queries_of_failures_count_as_what_they_spent():
    cells = {
        ("int8", "clean"): cell("1110"),
        ("int8", SQUARE.label): cell("0010", queries=np.array([3, 5, 100, 0])),
    }

    found = records(study(cells, SQUARE))

    assert find(found, "int8", SQUARE.label, "mean_queries").value == pytest.approx(36)
    assert find(found, "int8", SQUARE.label, "median_queries").value == pytest.approx(5)


def test_a_query_attack_that_finds_less_than_transfer_is_flagged():
    n = 40
    cells = {
        ("int8", "clean"): cell("1" * n),
        ("int8", SQUARE.label): cell("1" * n),
        ("int8", TRANSFER.label): cell("0" * 10 + "1" * (n - 10)),
    }

    found = records(study(cells, SQUARE, TRANSFER))

    assert find(found, "int8", SQUARE.label, "robust_accuracy").flags == ("weaker-than-transfer",)
    assert find(found, "int8", TRANSFER.label, "robust_accuracy").flags == ()


def test_an_engine_more_robust_to_queries_only_is_suspected_of_masking():
    cells = {
        ("float", "clean"): cell("1" * 40),
        ("float", SQUARE.label): cell("0" * 20 + "1" * 20),
        ("float", TRANSFER.label): cell("0" * 20 + "1" * 20),
        ("int8", "clean"): cell("1" * 40),
        ("int8", SQUARE.label): cell("0" * 10 + "1" * 30),
        ("int8", TRANSFER.label): cell("0" * 20 + "1" * 20),
    }

    found = records(study(cells, SQUARE, TRANSFER))

    assert find(found, "int8", SQUARE.label, "robust_accuracy").flags == ("weaker-than-transfer", "masking-suspected")
    assert find(found, "float", SQUARE.label, "robust_accuracy").flags == ()


def test_an_engine_more_robust_to_every_family_is_not_suspected():
    cells = {
        ("float", "clean"): cell("1" * 40),
        ("float", SQUARE.label): cell("0" * 20 + "1" * 20),
        ("float", TRANSFER.label): cell("0" * 20 + "1" * 20),
        ("int8", "clean"): cell("1" * 40),
        ("int8", SQUARE.label): cell("0" * 10 + "1" * 30),
        ("int8", TRANSFER.label): cell("0" * 10 + "1" * 30),
    }

    found = records(study(cells, SQUARE, TRANSFER))

    assert find(found, "int8", SQUARE.label, "robust_accuracy").flags == ()


def test_an_engine_with_tied_scores_is_flagged_wherever_it_is_attacked():
    tied = np.zeros(100, dtype=bool)
    tied[:1] = True
    cells = {("int8", "clean"): cell("1" * 100, tied=tied), ("int8", SQUARE.label): cell("1" * 100)}

    found = records(study(cells, SQUARE))

    assert find(found, "int8", SQUARE.label, "robust_accuracy").flags == ("many-ties",)
    assert find(found, "int8", "clean", "accuracy").flags == ()


def test_zero_gradients_are_flagged():
    cells = {
        ("int8", "clean"): cell("1111"),
        ("int8", TRANSFER.label): cell("1111", zero_gradient=np.full(4, 0.02)),
    }

    found = records(study(cells, TRANSFER))

    assert find(found, "int8", TRANSFER.label, "robust_accuracy").flags == ("zero-gradients",)


def test_verdicts_are_adjusted_over_all_comparisons_of_the_run():
    # 9 losses and no win: p = 0.0039 alone, no longer below 0.05 after 20 comparisons of the same kind.
    conditions = [Condition(kind="corruption", name="gaussian_noise", settings=(("severity", s),)) for s in range(1, 6)]
    presets = [Condition(kind="preset", name=str(number)) for number in range(14)]
    cells = {}
    for condition in (CLEAN, *conditions, *presets):
        cells["float", condition.label] = cell("1" * 20)
        cells["int8", condition.label] = cell("0" * 6 + "1" * 14 if condition == CLEAN else "1" * 20)

    few = records(study({key: value for key, value in cells.items() if key[1] == "clean"}))
    many = records(study(cells, *conditions, *presets))

    alone, adjusted = (find(found, "int8", "clean", "accuracy").comparison for found in (few, many))
    assert alone is not None
    assert adjusted is not None
    assert alone.verdict == "worse"
    assert adjusted.verdict == "not distinguishable"
    assert adjusted.p_holm == pytest.approx(adjusted.p_value * 21)


def test_mean_corruption_accuracy_pairs_the_images():
    cells = {
        ("float", "clean"): cell("1111"),
        ("float", NOISE.label): cell("1111"),
        ("float", BLUR.label): cell("1100"),
        ("int8", "clean"): cell("1111"),
        ("int8", NOISE.label): cell("0111"),
        ("int8", BLUR.label): cell("1000"),
    }

    found = records(study(cells, NOISE, BLUR))

    record = find(found, "int8", "corruptions", "mean_accuracy")
    assert record.value == pytest.approx(4 / 8)
    assert record.comparison is not None
    assert record.comparison.difference == pytest.approx(-2 / 8)
    assert (record.comparison.right_to_wrong, record.comparison.wrong_to_right) == (2, 0)


def test_mean_corruption_accuracy_is_tested_as_a_mean():
    """Many images that gain a little and some that lose much: counting images would call the loser better."""
    blurs = [Condition(kind="corruption", name="motion_blur", settings=(("severity", s),)) for s in range(1, 6)]
    before = ["0" * 60 + "1" * 40] * 5
    after = ["1" * 60 + "0" * 40, *["0" * 100] * 4]
    cells: dict[tuple[str, str], Cell] = {}
    for engine, answers in (("float", before), ("int8", after)):
        cells[engine, "clean"] = cell("1" * 100)
        cells.update({(engine, blur.label): cell(row) for blur, row in zip(blurs, answers, strict=True)})

    found = records(study(cells, *blurs))

    comparison = find(found, "int8", "corruptions", "mean_accuracy").comparison
    assert comparison is not None
    change = np.repeat([0.2, -1.0], [60, 40])
    assert comparison.p_value == pytest.approx(2 * stats.norm.sf(abs(change.mean()) / stats.sem(change)))
    assert (comparison.wrong_to_right, comparison.right_to_wrong) == (60, 40)


def test_a_single_engine_and_missing_cells_give_the_records_that_exist():
    found = records(study({("float", "clean"): cell("11")}, NOISE, SQUARE))

    assert [(r.condition, r.metric) for r in found] == [("clean", "accuracy")]


def test_an_engine_that_guesses_is_flagged():
    found = records(study({("float", "clean"): cell("10" + "0" * 18)}))

    assert find(found, "float", "clean", "accuracy").flags == ("near-chance",)


ROUTED = {
    CLEAN: "11111110",
    TRANSFER: "00001100",
    CLEAN.via("jpeg:90"): "11101111",  # on this route the fourth can't count
    TRANSFER.via("jpeg:90"): "00111-01",
}


def test_a_route_counts_what_fooled_the_engine_and_still_does_beside_its_clean_control():
    found = records(study({("int8", c.label): cell(column) for c, column in ROUTED.items()}, *ROUTED))

    values = {r.metric: (r.value, r.n) for r in found if r.condition == "mifgsm:eps=8,steps=10 via jpeg:90"}
    assert values == {
        "clean_accuracy": (pytest.approx(6 / 7), 7),
        "robust_accuracy": (pytest.approx(3 / 7), 7),
        "attack_success": (pytest.approx(3 / 6), 6),
        "survival": (pytest.approx(3 / 4), 4),
    }
    assert find(found, "int8", "clean via jpeg:90", "accuracy").value == 7 / 8


def test_a_route_is_no_attack_of_its_own():
    cells = {("int8", c.label): cell(column) for c, column in ROUTED.items()}

    labels = {record.condition for record in records(study(cells, *ROUTED))}

    assert not any(label.startswith("worst-case") for label in labels)


def test_a_route_carries_the_flags_of_its_attack():
    cells = {("int8", c.label): cell(column) for c, column in ROUTED.items()}
    cells["int8", TRANSFER.label] = cell(ROUTED[TRANSFER], zero_gradient=np.full(8, 0.5))

    found = records(study(cells, *ROUTED))

    assert find(found, "int8", TRANSFER.via("jpeg:90").label, "survival").flags == ("zero-gradients",)
    assert find(found, "int8", "clean via jpeg:90", "accuracy").flags == ()


def test_a_route_without_its_control_gives_no_records():
    cells = {("int8", c.label): cell(column) for c, column in ROUTED.items() if c != CLEAN.via("jpeg:90")}

    assert not [r for r in records(study(cells, *ROUTED)) if r.condition.endswith("via jpeg:90")]
