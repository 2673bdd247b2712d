"""Claims about attacks rest on the images that all engines get right, each engine attacked in its own run."""

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.attack_claims import attack_claims, attack_shares, common_attacks
from robustmq_trt.evaluate.attacks.catalog import parse_attack
from robustmq_trt.evaluate.conditions import CLEAN
from robustmq_trt.evaluate.metrics import Study
from robustmq_trt.evaluate.results import Cell, Results

N = 300
ATTACKS = [parse_attack("fgsm:eps=2"), parse_attack("pgd:eps=2")]


def study(name, clean, *survived, dataset="d", attacks=ATTACKS):
    """A run of one engine: whether it is right on clean images and under each attack."""
    cells = {
        (name, condition.label): Cell(
            valid=np.arange(N) > 0,
            correct=correct,
            tied=correct,
            prediction=correct.astype(np.int64),
            queries=np.zeros(N, np.int64),
            zero_gradient=np.zeros(N),
            reached=np.zeros(N, dtype=bool),
            identity={"dataset": dataset},
        )
        for condition, correct in zip([CLEAN, *attacks], (clean, *survived), strict=True)
    }
    results = Results(cells=cells, missing={})
    return Study(results=results, engines=[name], conditions=[CLEAN, *attacks], seed=0, classes=10)


def below(share):
    return np.random.default_rng(0).permutation(N) < share * N


def test_an_image_counts_where_every_engine_is_right_and_could_be_asked():
    everywhere, first = np.ones(N, bool), np.arange(N) < 100

    shares = attack_shares(
        {"float": study("float", everywhere, first, everywhere), "int8": study("int8", first, first, ~first)}
    )

    assert {name: values.shape for name, values in shares.items()} == {"float": (99,), "int8": (99,)}
    np.testing.assert_array_equal(shares["float"], 1.0)
    np.testing.assert_array_equal(shares["int8"], 0.5)


@pytest.mark.parametrize(
    ("levels", "answers"),
    [
        ((0.2, 0.5, 0.8), ["yes", "yes", "yes"]),
        ((0.8, 0.5, 0.2), ["no", "no", "no"]),
        ((0.4, 0.6, 0.6), ["yes", "yes", "not distinguishable"]),
    ],
)
def test_the_claims_are_answered_by_who_survives_more(levels, answers):
    everywhere = np.ones(N, bool)
    studies = {
        name: study(name, everywhere, below(level), below(level))
        for name, level in zip(("float", "w8a8", "w4a4"), levels, strict=True)
    }

    found = attack_claims(attack_shares(studies), reference="float", ladder=["w4a4", "w8a8"])

    assert [claim.answer for claim in found] == answers
    assert (found[0].orderings[0].below, found[0].n) == ("float", N - 1)
    assert (found[2].orderings[0].below, found[2].orderings[0].above) == ("w8a8", "w4a4")


def test_an_attack_that_one_engine_could_not_be_shown_counts_for_none():
    everywhere = np.ones(N, bool)
    studies = {
        "a": study("a", everywhere, everywhere, ~everywhere),
        "b": study("b", everywhere, everywhere, attacks=ATTACKS[:1]),
    }

    assert common_attacks(studies) == [ATTACKS[0].label]
    assert attack_shares(studies)["a"].mean() == 1


def test_runs_that_cannot_be_compared_are_refused():
    everywhere = np.ones(N, bool)
    whole = study("a", everywhere, everywhere, everywhere)

    for other, word in (
        (study("b", everywhere, everywhere, attacks=[parse_attack("fgsm:eps=4")]), "no attack on every engine"),
        (study("b", everywhere, everywhere, everywhere, dataset="another"), "different images"),
        (study("b", ~everywhere, everywhere, everywhere), "No image"),
    ):
        with pytest.raises(InputError, match=word):
            attack_shares({"a": whole, "b": other})
    with pytest.raises(InputError, match="no attack"):
        attack_shares({"a": study("a", everywhere, attacks=[])})
