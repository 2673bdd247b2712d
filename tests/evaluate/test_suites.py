import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.attacks.catalog import strength
from robustmq_trt.evaluate.conditions import CLEAN
from robustmq_trt.evaluate.suites import SUITES, suite

UNBOUNDED = 255


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_begins_clean_and_names_each_condition_once(name: str) -> None:
    labels = [condition.label for condition in suite(name)]

    assert labels[0] == CLEAN.label
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("name", ["standard", "full"])
def test_the_attacks_of_the_large_suites_stand_beside_noise_and_beside_themselves_without_a_bound(name: str) -> None:
    attacks = [condition for condition in suite(name) if condition.kind == "attack"]
    bounded = [a for a in attacks if a.name != "noise" and a["eps"] != UNBOUNDED]

    noisy = {strength(attack) for attack in attacks if attack.name == "noise"}
    unbounded = {attack.name for attack in attacks if attack["eps"] == UNBOUNDED}

    assert noisy == {strength(attack) for attack in bounded}
    assert unbounded | {"fgsm"} == {attack.name for attack in bounded} | {"fgsm"}  # one step, so no bound to reach for


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(InputError, match="Did you mean 'standard'"):
        suite("standart")
