import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.attacks.aim import drawn_target
from robustmq_trt.evaluate.attacks.catalog import is_targeted, parse_attack, strength
from robustmq_trt.evaluate.attacks.margins import MarginReader
from robustmq_trt.evaluate.attacks.protocol import Answer, Goal


def test_every_class_but_the_label_is_drawn_equally_often() -> None:
    counts = np.bincount([drawn_target(0, str(image), 2, 5) for image in range(4000)], minlength=5)

    assert counts[2] == 0
    assert np.abs(counts[[0, 1, 3, 4]] - 1000).max() < 5 * 1000**0.5


def test_a_label_without_another_class_is_refused() -> None:
    with pytest.raises(InputError, match="another class"):
        drawn_target(0, "", 0, 1)


def test_the_goal_is_part_of_the_label_and_of_the_threat_model() -> None:
    condition = parse_attack("square:eps=8,queries=50,goal=targeted")

    assert condition.label == "square:eps=8,queries=50,goal=targeted"
    assert is_targeted(condition)
    assert strength(condition) == "eps=8,goal=targeted"
    assert not is_targeted(parse_attack("square:goal=untargeted"))


def test_the_order_of_words_makes_no_other_condition() -> None:
    specs = "square:start=mifgsm,goal=targeted", "square:goal=targeted,start=mifgsm"

    assert parse_attack(specs[0]) == parse_attack(specs[1])


@pytest.mark.parametrize("spec", ["rays:goal=targeted", "mifgsm:goal=targeted"])
def test_an_attack_that_cannot_aim_refuses_a_goal(spec: str) -> None:
    with pytest.raises(InputError, match="goal"):
        parse_attack(spec)


def test_a_targeted_margin_of_shares_is_read_as_logits() -> None:
    """Reference: the logits that the shares were made of; class 1 leads, class 2 is aimed at."""
    logits = np.array([0.5, 2.0, -1.0])
    shares = np.float32(np.exp(logits) / np.exp(logits).sum())

    margin = MarginReader(Goal(0, 2)).read(Answer(shares, float(shares[1] - shares[2]), wrong=False))

    assert margin == pytest.approx(3.0, abs=0.7)  # the floor under the smallest share takes log(1.5) of it
