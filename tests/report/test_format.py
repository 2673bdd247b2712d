import math

import pytest

from robustmq_trt.evaluate.attacks.catalog import ATTACKS
from robustmq_trt.report import format as wording


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.0 %"), (1.0, "100.0 %"), (0.12345, "12.3 %"), (-0.00001, "0.0 %"), (math.nan, "not measured")],
)
def test_a_share_is_worded_in_percent_with_one_decimal(value: float, words: str) -> None:
    assert wording.percent(value).replace("\u202f", " ") == words


@pytest.mark.parametrize(("value", "words"), [(0.01, "+1.0"), (-0.01, "\u22121.0"), (0.0, "0.0"), (-0.0001, "0.0")])
def test_a_difference_shows_its_sign_and_zero_has_none(value: float, words: str) -> None:
    assert wording.points(value) == f"{words} points"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.0, "1"),
        (1234567.0, "1 234 567"),
        (15.04, "15.0"),
        (1.2345, "1.23"),
        (123.4, "123"),
        (0.00001, "1.0e\u221205"),
    ],
)
def test_a_number_has_three_digits_or_is_whole(value: float, words: str) -> None:
    assert wording.number(value).replace("\u202f", " ") == words


@pytest.mark.parametrize(
    ("p", "words"), [(0.0, "p < 0.001"), (0.05, "p = 0.050"), (1.0, "p = 1"), (math.nan, "p not computed")]
)
def test_a_p_value_never_pretends_to_be_zero(p: float, words: str) -> None:
    assert wording.p_value(p).replace("\u00a0", " ") == words


def test_no_interval_is_worded_where_a_bound_is_missing() -> None:
    assert wording.interval(math.nan, 1.0, "ms") == ""
    assert wording.difference_interval(0.1, math.nan, "share") == ""


def test_a_unit_is_written_once_per_interval() -> None:
    assert wording.interval(3.35, 3.52, "ms") == "3.35\u20133.52\u202fms"


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("clean", "clean images"),
        ("adba:eps=8,queries=200", "ADBA, eps 8/255, 200 queries"),
        ("worst-case:eps=8", "worst case, eps 8/255"),
        ("jpeg:3", "JPEG, severity 3"),
        ("motion_blur:5", "motion blur, severity 5"),
        ("preset:opencv-nearest", "opencv-nearest"),
        ("mifgsm:eps=8,steps=20,surrogate=r56", "MI-FGSM, eps 8/255, 20 steps, surrogate r56"),
        ("patch:area=5,images=256", "adversarial patch, 5 % of the image, learned on 256 images"),
        ("something else", "something else"),
        ("odd:", "odd, "),
    ],
)
def test_a_condition_is_worded_for_a_reader(condition: str, words: str) -> None:
    assert wording.condition_label(condition) == words


@pytest.mark.parametrize("attack", sorted({*ATTACKS} - {"linear", "noise"}))
def test_an_attack_is_written_as_its_authors_do(attack: str) -> None:
    assert wording.condition_label(attack) != attack


@pytest.mark.parametrize(
    ("metric", "words"),
    [("mce", "mCE"), ("mce_alexnet", "mCE alexnet"), ("mce_c_bar", "mCE of ImageNet-C-bar"), ("accuracy", "accuracy")],
)
def test_a_metric_is_worded_for_a_reader(metric: str, words: str) -> None:
    assert wording.metric_label(metric) == words


@pytest.mark.parametrize(
    ("size", "words"), [(999, "999 bytes"), (13_964_571, "14.0 MB"), (100_000_000, "100 MB"), (2 * 10**9, "2.00 GB")]
)
def test_a_size_has_three_digits(size: int, words: str) -> None:
    assert wording.size(size).replace("\u202f", " ") == words
