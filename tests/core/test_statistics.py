"""Statistics against scipy, brute force and coverage by simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robustmq_trt.core.statistics import (
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    paired_bootstrap,
    paired_difference,
    resampled_means,
    wilson,
)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipys(case):
    successes, n = case

    ours = wilson(successes, n)

    theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.low <= ours.value <= ours.high


def test_wilson_of_nothing_is_everything():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


def test_wilson_refuses_more_successes_than_trials():
    with pytest.raises(ValueError, match="0 <= successes <= 3"):
        wilson(4, 3)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_equals_scipys_sign_test(b, c):
    expected = stats.binomtest(min(b, c), b + c).pvalue if b + c else 1.0

    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_survives_large_counts():
    assert mcnemar_exact(20_000, 20_500) == pytest.approx(stats.binomtest(20_000, 40_500).pvalue, rel=1e-6)


def test_paired_bootstrap_interval_equals_resampling_the_pairs_one_by_one(rng):
    candidate, reference = rng.random(80) < 0.7, rng.random(80) < 0.6
    differences = candidate.astype(float) - reference.astype(float)
    means = differences[rng.integers(0, 80, (40_000, 80))].mean(axis=1)

    ours = paired_bootstrap(candidate.astype(float), reference.astype(float), seed=1, resamples=40_000)

    assert ours.value == pytest.approx(differences.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.013)


def test_paired_bootstrap_covers_the_truth_about_95_times_in_100(rng):
    p_win, p_lose, n, repeats = 0.12, 0.06, 300, 400
    hits = 0
    for seed in range(repeats):
        outcome = rng.choice([1.0, -1.0, 0.0], p=[p_win, p_lose, 1 - p_win - p_lose], size=n)
        interval = paired_bootstrap(outcome, np.zeros(n), seed=seed, resamples=1000)
        hits += interval.low <= p_win - p_lose <= interval.high

    assert 0.91 <= hits / repeats <= 0.985


def test_paired_bootstrap_refuses_unpaired_values():
    with pytest.raises(ValueError, match="equal, non-empty shapes"):
        paired_bootstrap(np.zeros(3), np.zeros(4), seed=0)


def test_paired_difference_counts_flips_both_ways():
    candidate = np.array([True, True, False, False, True])
    reference = np.array([True, False, True, True, True])

    result = paired_difference(candidate, reference, seed=0)

    assert (result.wrong_to_right, result.right_to_wrong) == (1, 2)
    assert result.difference == pytest.approx(-0.2)


def test_equal_answers_still_leave_an_interval():
    same = np.ones(100, dtype=bool)

    result = paired_difference(same, same, seed=0)

    assert result.high == pytest.approx(stats.beta.ppf(0.975, 1, 100), rel=1e-6)
    assert result.low == -result.high


def test_pairs_that_all_flip_still_leave_an_interval():
    all_flip = paired_difference(np.ones(10, dtype=bool), np.zeros(10, dtype=bool), seed=0)
    one_image = paired_difference(np.zeros(1, dtype=bool), np.ones(1, dtype=bool), seed=0)

    lowest = stats.beta.ppf(0.025, 10, 1)  # share that flips, if all 10 of 10 do
    assert (all_flip.low, all_flip.high) == (pytest.approx(lowest - (1 - lowest), rel=1e-6), 1.0)
    assert one_image.low == -1.0
    assert one_image.high == pytest.approx(0.95)


def test_resampled_means_are_the_same_however_many_are_drawn_at_once(rng, monkeypatch):
    table = rng.random((60, 3))
    whole = resampled_means(table, seed=4, resamples=100)

    monkeypatch.setattr("robustmq_trt.core.statistics._DRAWN_AT_ONCE", 7 * 60)

    np.testing.assert_allclose(resampled_means(table, seed=4, resamples=100), whole, rtol=1e-12)


def test_holm_equals_scipy_free_definition():
    p_values = [0.001, 0.2, 0.03, 0.04, 0.012]
    order = np.argsort(p_values)
    stepped = [min(1.0, (5 - rank) * p_values[i]) for rank, i in enumerate(order)]
    expected = np.empty(5)
    expected[order] = list(itertools.accumulate(stepped, max))

    assert holm(p_values) == pytest.approx(list(expected))


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_lowers_a_p_value_and_stays_a_probability(p_values):
    adjusted = holm(p_values)

    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))


def test_no_discordant_pair_does_not_make_every_difference_detectable():
    assert (
        minimum_detectable_difference(0, 100) == minimum_detectable_difference(1, 100) == pytest.approx(0.028, abs=1e-3)
    )


def test_detectable_difference_is_found_four_times_in_five(rng):
    n, discordant = 2000, 200
    effect = minimum_detectable_difference(discordant, n)
    p_discordant = discordant / n
    found = 0
    for _ in range(400):
        b, c, _rest = rng.multinomial(n, [(p_discordant + effect) / 2, (p_discordant - effect) / 2, 1 - p_discordant])
        found += mcnemar_exact(int(b), int(c)) < 0.05

    assert 0.70 <= found / 400 <= 0.88
