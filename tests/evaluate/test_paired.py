"""Paired comparisons against scipy, and that a chosen extreme is chosen anew in every resample."""

import numpy as np
import pytest
from scipy import stats

from robustmq_trt.core.record import Record
from robustmq_trt.evaluate.paired import compare, compare_statistic, statistic_interval, with_verdicts


def least(means):
    return means.min(axis=1)


def average(means):
    return means.mean(axis=1)


def test_shares_are_compared_by_the_exact_test_of_discordant_pairs(rng):
    values, before = rng.random(80) < 0.8, rng.random(80) < 0.6

    found = compare("before", values, before, 0)

    gained, lost = int((values & ~before).sum()), int((~values & before).sum())
    assert (found.wrong_to_right, found.right_to_wrong) == (gained, lost)
    assert found.p_value == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_means_are_compared_by_the_paired_z_test(rng):
    values = rng.normal(size=400)
    before = values + rng.normal(0.02, 0.2, 400)

    found = compare("before", values, before, 0)

    assert found.p_value == pytest.approx(stats.ttest_rel(values, before).pvalue, rel=0.05)
    assert found.low < values.mean() - before.mean() < found.high


def test_a_single_image_tells_no_means_apart():
    assert compare("before", np.array([0.9]), np.array([0.1]), 0).p_value == 1


def test_means_that_all_change_alike_are_compared_by_the_sign_test():
    found = compare("before", np.full(8, 0.75), np.full(8, 0.25), 0)

    assert found.p_value == pytest.approx(stats.binomtest(8, 8).pvalue)


@pytest.mark.parametrize(("less_is_better", "flips"), [(False, (1, 2)), (True, (2, 1))])
def test_images_gained_are_those_whose_mean_is_better(less_is_better, flips):
    values, before = np.array([0.5, 0.2, 0.3, 0.4]), np.array([0.1, 0.3, 0.4, 0.4])

    found = compare("before", values, before, 0, less_is_better=less_is_better)

    assert (found.wrong_to_right, found.right_to_wrong) == flips


def test_the_interval_of_a_mean_over_columns_is_that_of_scipys_bootstrap(rng):
    table = rng.random((150, 5)) < rng.random(150)[:, None]

    found = statistic_interval(table, average, 0)

    expected = stats.bootstrap((table.mean(axis=1),), np.mean, method="percentile", rng=1).confidence_interval
    assert found.value == pytest.approx(table.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.006)


def test_equal_tables_are_not_distinguishable(rng):
    table = rng.random((100, 4)) < 0.7

    found = compare_statistic("before", table, table, least, 0)

    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_the_least_column_may_be_another_one_in_each_table():
    table = np.ones((200, 2), np.bool_)
    before = table.copy()
    table[:80, 0], before[:20, 1] = False, False

    found = compare_statistic("before", table, before, least, 0)

    assert found.difference == pytest.approx(-0.3)
    assert found.high < 0
    assert found.p_value < 0.001
    assert (found.wrong_to_right, found.right_to_wrong) == (0, 60)


def test_the_test_of_a_mean_over_columns_is_as_sure_as_the_z_test(rng):
    image = rng.random(200)
    table = rng.random((200, 3)) < image[:, None]
    before = rng.random((200, 3)) < 0.9 * image[:, None]

    found = compare_statistic("before", table, before, average, 0)

    expected = stats.ttest_rel(table.mean(axis=1), before.mean(axis=1)).pvalue
    assert 0.001 < expected < 0.5
    assert found.p_value == pytest.approx(expected, rel=0.3)


def test_verdicts_follow_holm_and_the_direction_of_the_metric():
    rng = np.random.default_rng(0)
    worse, better = rng.random(400) < 0.3, rng.random(400) < 0.9

    records = [
        Record(
            engine="e", condition="c", metric=m, value=0, low=0, high=0, n=400, seed=0, comparison=compare("r", *v, 0)
        )
        for m, v in (("accuracy", (better, worse)), ("error", (better, worse)), ("same", (better, better)))
    ]

    found = [record.comparison for record in with_verdicts(records, less_is_better=("error",))]
    assert [comparison.verdict for comparison in found] == ["better", "worse", "not distinguishable"]
    assert found[0].p_holm == pytest.approx(3 * found[0].p_value)
