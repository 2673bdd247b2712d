"""The sentence on mean corruption errors: its figures, its verdict, and when there is none."""

from typing import Any

import pytest

from robustmq_trt.report.document import Document
from robustmq_trt.report.headline import headlines


def answer(sample: dict[str, Any], *figures: tuple[str, float, float, float], engine: str = "MobileNetV2 INT8") -> str:
    """Give the answer on corruptions, with mean corruption errors among the records; plain signs and spaces."""
    rows = [
        {"engine": engine, "condition": "corruptions", "metric": metric, "value": value, "low": low, "high": high}
        for metric, value, low, high in figures
    ]
    sample["records"] += [{**row, "n": 472, "seed": 0, "unit": "share", "flags": [], "identity": {}} for row in rows]
    found = headlines(Document.from_json(sample))
    (sentence,) = [each.sentence for each in found if each.question == "Is it more fragile to corruptions?"]
    return sentence.replace("\u202f", " ").replace("\u00a0", " ").replace("\u2013", "-")


@pytest.mark.parametrize(
    ("value", "low", "high", "ending"),
    [
        (1.034, 1.012, 1.059, "(unadjusted 95 % interval 101.2-105.9 %, 472 images), more than the reference makes."),
        (0.951, 0.92, 0.999, "(unadjusted 95 % interval 92.0-99.9 %, 472 images), fewer than the reference makes."),
        (1.01, 0.99, 1.031, "(unadjusted 95 % interval 99.0-103.1 %, 472 images), not distinguishable from 100.0 %."),
        (1.01, 1.0, 1.031, "(unadjusted 95 % interval 100.0-103.1 %, 472 images), not distinguishable from 100.0 %."),
    ],
)
def test_the_interval_decides_what_is_said(
    sample: dict[str, Any], value: float, low: float, high: float, ending: str
) -> None:
    sentence = answer(sample, ("mce", value, low, high))

    start = f"mCE of ImageNet-C: {100 * value:.1f} % of the errors of MobileNetV2 float "
    assert sentence.endswith(start + ending)


def test_without_bounds_nothing_is_told_apart(sample: dict[str, Any]) -> None:
    rows = {"engine": "MobileNetV2 INT8", "condition": "corruptions", "metric": "mce", "n": 9, "seed": 0}
    sample["records"].append(
        {**rows, "value": 1.2, "low": None, "high": None, "unit": "share", "flags": [], "identity": {}}
    )

    found = headlines(Document.from_json(sample))

    assert any("not distinguishable from" in each.sentence and "mCE" in each.sentence for each in found)


def test_the_two_families_and_parts_of_them_are_told_apart(sample: dict[str, Any]) -> None:
    sentence = answer(
        sample, ("mce_of_14", 1.1, 1.05, 1.2), ("mce_c_bar", 1.0, 0.9, 1.1), ("mce_c_bar_of_3", 1, 0.9, 1.1)
    )

    assert "mCE of ImageNet-C over 14 of its corruptions alone: 110.0 %" in sentence
    assert "mCE of ImageNet-C-bar: 100.0 %" in sentence
    assert "mCE of ImageNet-C-bar over 3 of its corruptions alone: 100.0 %" in sentence


def test_the_figure_without_clean_errors_follows_and_has_a_verdict_of_its_own(sample: dict[str, Any]) -> None:
    sentence = answer(sample, ("mce", 1.1, 1.05, 1.2), ("relative_mce", 0.998, 0.979, 1.019))

    assert sentence.endswith(
        "more than the reference makes. Clean errors taken off: 99.8 % of the errors of MobileNetV2 float "
        "(unadjusted 95 % interval 97.9-101.9 %, 472 images), not distinguishable from 100.0 %."
    )


def test_other_means_and_other_engines_are_not_taken_for_it(sample: dict[str, Any]) -> None:
    figures = [(name, 1.1, 1.05, 1.2) for name in ("mce_alexnet", "mean_relative_drop", "mean_drop_difference")]

    assert "mCE" not in answer(sample, *figures)
    assert "mCE" not in answer(sample, ("mce", 1.1, 1.05, 1.2), engine="MobileNetV2 float")


def test_without_a_reference_there_is_no_sentence(sample: dict[str, Any]) -> None:
    sample["targets"] = [target for target in sample["targets"] if target["name"] == "MobileNetV2 INT8"]

    assert "mCE" not in answer(sample, ("mce", 1.1, 1.05, 1.2))
