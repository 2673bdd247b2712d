from typing import Any

import pytest

from robustmq_trt.report.document import Document
from robustmq_trt.report.lookup import conditions, engine_names, find, group_of, pareto_conditions, reference, subjects


@pytest.mark.parametrize(
    ("condition", "group"),
    [
        ("clean", "clean"),
        ("gaussian_noise:3", "corruptions"),
        ("corruptions", "corruptions"),
        ("preset:a.toml", "preprocessing"),
        ("square:eps=8,queries=1000", "attacks"),
        ("worst-case:eps=8", "attacks"),
        ("fgsm", "attacks"),
        ("pgd_l2:eps=255,steps=20", "attacks"),
        ("worst-case:norm=l2,eps=255", "attacks"),
        ("noise:eps=8,queries=10", "checks"),
        ("square:eps=255,queries=1000", "checks"),
        ("worst-case:eps=255", "checks"),
        ("mifgsm:eps=4,steps=10 via jpeg:90", "routes"),
        ("clean via preset:opencv-area", "routes"),
    ],
)
def test_a_condition_belongs_to_its_group(condition: str, group: str) -> None:
    assert group_of(condition) == group


def test_conditions_keep_the_order_of_the_records(sample: dict[str, Any]) -> None:
    found = conditions(Document.from_json(sample).records, "attacks")

    assert found == ("square:eps=8,queries=1000", "mifgsm:eps=8,steps=20", "worst-case:eps=8")


def test_every_engine_that_is_mentioned_has_a_name_once_targets_first(sample: dict[str, Any]) -> None:
    sample["records"][0]["engine"] = "a stranger"

    assert engine_names(Document.from_json(sample)) == ("MobileNetV2 float", "MobileNetV2 INT8", "a stranger")


def test_the_hardest_threat_and_the_mean_of_corruptions_are_set_against_speed(sample: dict[str, Any]) -> None:
    assert pareto_conditions(Document.from_json(sample)) == (
        ("worst-case:eps=8", "robust_accuracy"),
        ("corruptions", "mean_accuracy"),
    )


def test_an_attack_without_a_bound_is_no_threat_to_set_against_speed(sample: dict[str, Any]) -> None:
    sample["records"].append({**sample["records"][0], "condition": "worst-case:eps=255", "metric": "robust_accuracy"})
    sample["records"][-1] |= {"value": 0.0, "low": 0.0, "high": 0.01}

    assert pareto_conditions(Document.from_json(sample))[0] == ("worst-case:eps=8", "robust_accuracy")


def test_without_candidates_every_target_is_a_subject(sample: dict[str, Any]) -> None:
    sample["targets"][1]["role"] = "reference"
    document = Document.from_json(sample)

    assert [target.name for target in subjects(document)] == ["MobileNetV2 float", "MobileNetV2 INT8"]
    assert reference(document) is document.targets[0]


def test_a_record_without_a_number_counts_as_not_found(sample: dict[str, Any]) -> None:
    sample["records"][0].update(value=None, low=None, high=None)

    assert find(Document.from_json(sample), "MobileNetV2 float", "clean", "accuracy") is None
