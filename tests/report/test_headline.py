from typing import Any

import pytest

from robustmq_trt.report.document import Document
from robustmq_trt.report.headline import Headline, headlines, verdicts


def _answers(sample: dict[str, Any]) -> dict[str, Headline]:
    return {headline.question: headline for headline in headlines(Document.from_json(sample))}


def _plain(words: str) -> str:
    return words.replace("\u202f", " ").replace("\u00a0", " ").replace("\u2013", "-").replace("\u2212", "-")


def test_the_candidate_is_asked_six_questions(sample: dict[str, Any]) -> None:
    assert len(_answers(sample)) == 6


def test_equal_accuracy_is_not_distinguishable_and_names_what_could_hide(sample: dict[str, Any]) -> None:
    answer = _answers(sample)["Is it as accurate?"]

    assert answer.short == "Not distinguishable"
    assert answer.tone == "neutral"
    assert _plain(answer.sentence) == (
        "MobileNetV2 INT8 reaches 89.6 % of 472 images (95 % interval 86.5-92.1 %), MobileNetV2 float 89.8 %. The "
        "difference of -0.2 points (-1.5 to +1.0) is not distinguishable from zero (p = 1 after Holm; 5 images lost, "
        "4 gained); a true difference of 1.8 points would have been found four times out of five."
    )


def test_a_significant_loss_is_said_with_its_condition(sample: dict[str, Any]) -> None:
    answer = _answers(sample)["Is it more fragile to corruptions?"]

    assert (answer.short, answer.tone) == ("Worse in 1 of 12", "bad")
    assert "Of 12 conditions MobileNetV2 INT8 is worse in 1, better in 0, not distinguishable in 11." in answer.sentence
    assert _plain(answer.sentence).endswith(
        "Largest loss, gaussian noise, severity 5: -6.8 points (-9.7 to -3.8; p < 0.001 after Holm)."
    )


def test_the_mean_over_all_corruptions_comes_first(sample: dict[str, Any]) -> None:
    answer = _answers(sample)["Is it more fragile to corruptions?"]

    assert _plain(answer.sentence).startswith("On average, MobileNetV2 INT8 reaches 68.6 % of 472 images")


def test_a_single_condition_is_compared_in_full(sample: dict[str, Any]) -> None:
    sample["records"] = [record for record in sample["records"] if record["condition"] == "gaussian_noise:5"]

    answer = _answers(sample)["Is it more fragile to corruptions?"]

    assert answer.short == "Yes, worse"
    assert answer.sentence.startswith("Gaussian noise, severity 5: MobileNetV2 INT8 reaches")
    assert "is significant (p < 0.001 after Holm; 41 images lost, 9 gained)" in _plain(answer.sentence)


def test_a_flag_comes_with_the_answer_it_belongs_to(sample: dict[str, Any]) -> None:
    answer = _answers(sample)["Is it more fragile under attack?"]

    assert answer.flags == ("8.5 % of queries tie for the top score: the integer engine gives few distinct scores",)
    assert (answer.short, answer.tone) == ("Better in 1 of 3", "neutral")
    assert "Flags stand beside 1 figure." in verdicts(Document.from_json(sample))[0]


def test_speed_is_the_ratio_of_medians_with_both_intervals(sample: dict[str, Any]) -> None:
    answer = _answers(sample)["Is it faster?"]

    assert (answer.short, answer.tone) == ("2.8 times faster", "good")
    assert "engine alone: MobileNetV2 INT8 3.42 ms (3.35-3.52 ms, n = 500)" in _plain(answer.sentence)


def test_overlapping_latencies_are_not_distinguishable(sample: dict[str, Any]) -> None:
    for entry in sample["latency"]:
        entry.update(value=3.0, low=2.9, high=3.1)

    assert _answers(sample)["Is it faster?"].short == "Not distinguishable"


def test_latencies_without_bounds_are_not_distinguishable(sample: dict[str, Any]) -> None:
    for entry in sample["latency"]:
        entry.update(low=None, high=None)

    assert _answers(sample)["Is it faster?"].short == "Not distinguishable"


def test_unstable_timing_is_flagged_beside_the_ratio(sample: dict[str, Any]) -> None:
    for entry in sample["latency"]:
        entry["verdict"] = "unstable"

    assert "unstable timing: MobileNetV2 INT8" in _answers(sample)["Is it faster?"].flags
    assert "(unstable timing)" in verdicts(Document.from_json(sample))[0]


@pytest.mark.parametrize(
    ("coverage", "short", "tone"),
    [(0.4, "Partly, 40.0 %", "bad"), (0.0, "0.0 %", "bad"), (None, "Not measured", "missing")],
)
def test_an_engine_that_is_not_integer_is_called_so(
    sample: dict[str, Any], coverage: float | None, short: str, tone: str
) -> None:
    sample["targets"][1]["integer_coverage"] = coverage

    answer = _answers(sample)["Does it run in integers?"]

    assert (_plain(answer.short), answer.tone) == (short, tone)


def test_what_was_not_measured_is_said(sample: dict[str, Any]) -> None:
    sample["records"], sample["latency"] = [], []

    answers = _answers(sample)

    assert {answer.short for question, answer in answers.items() if "integers" not in question} == {"Not measured"}
    assert answers["Is it more fragile under attack?"].sentence == "No attacks were run on MobileNetV2 INT8."


def test_a_record_without_a_number_is_not_counted(sample: dict[str, Any]) -> None:
    for record in sample["records"]:
        if record["condition"] == "gaussian_noise:5":
            record.update(value=None, low=None, high=None)

    assert _answers(sample)["Is it more fragile to corruptions?"].short == "Not distinguishable"


def test_an_engine_alone_is_reported_without_comparison(sample: dict[str, Any]) -> None:
    sample["targets"] = sample["targets"][:1]
    document = Document.from_json(sample)

    assert verdicts(document) == ("MobileNetV2 float was measured alone: there is no reference to compare it with.",)
    assert "There is no reference to compare with." in headlines(document)[0].sentence


def test_an_advantage_that_is_flagged_is_not_praised(sample: dict[str, Any]) -> None:
    for record in sample["records"]:
        record["flags"] = ["masking-suspected"]

    assert _answers(sample)["Is it more fragile under attack?"].short == "Better in 1 of 3, flagged"
    assert "better in 1, flagged." in verdicts(Document.from_json(sample))[0]


def test_the_verdict_sums_up_in_one_line(sample: dict[str, Any]) -> None:
    assert _plain(verdicts(Document.from_json(sample))[0]) == (
        "MobileNetV2 INT8 is not distinguishable from MobileNetV2 float on clean images, runs 99.6 % of its arithmetic "
        "in integers and is 2.8 times faster. Of 19 changed conditions it is worse in 1 and better in 1. Flags stand "
        "beside 1 figure."
    )


def test_a_record_s_flags_stand_beside_the_answer(sample: dict[str, Any]) -> None:
    sample["records"][1].update(flags=["near-chance"])

    assert _answers(sample)["Is it as accurate?"].flags == ("near-chance",)


def test_no_engine_gives_no_answer(sample: dict[str, Any]) -> None:
    sample["targets"] = []
    document = Document.from_json(sample)

    assert headlines(document) == ()
    assert verdicts(document) == ("No engine was measured.",)
