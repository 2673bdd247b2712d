import pytest

from robustmq_trt.evaluate.attacks.catalog import access_used, blind_reason, parse_attack


@pytest.mark.parametrize(
    ("spec", "used"),
    [("square:eps=8", "probabilities"), ("rays:eps=8", "label"), ("surfree", "label"), ("mifgsm:eps=4", "none")],
)
def test_an_attack_is_said_to_see_no_more_than_it_uses(spec, used):
    assert access_used(parse_attack(spec), "probabilities") == used


def test_an_attack_that_needs_scores_is_blind_where_there_are_labels_alone():
    assert "needs scores" in blind_reason(parse_attack("square:eps=8"), "label")
    assert blind_reason(parse_attack("adba:eps=8"), "label") == ""
    assert blind_reason(parse_attack("square:eps=8"), "logits") == ""
