"""Union and comparison of range tables, against figures worked out by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.range_tables import diff, merge
from robustmq_trt.core.ranges import RangeTable

NUMBER = st.floats(-1e6, 1e6)
BOUNDS = st.tuples(NUMBER, NUMBER).map(lambda pair: (min(pair), max(pair)))
RANGES = st.dictionaries(st.sampled_from("abcd"), BOUNDS)


def made(data: str, ranges, method: str = "minmax") -> RangeTable:
    return RangeTable(
        method=method, images=4, model_sha256="m" * 64, data_sha256=data, preset="torchvision", ranges=ranges
    )


def test_a_union_takes_the_lowest_low_and_the_highest_high():
    merged = merge([made("1", {"a": (-1, 2), "b": (0, 1)}), made("2", {"a": (-3, 1), "c": (5, 6)})])

    assert merged.ranges == {"a": (-3, 2), "b": (0, 1), "c": (5, 6)}
    assert (merged.method, merged.images) == ("minmax", 8)


def test_a_union_of_another_method_says_that_it_is_one():
    tables = [made(data, {"a": (0, 1)}, "entropy") for data in "123"]

    merged = merge(tables[:2])

    assert merged.method == "entropy+union"
    assert merge([merged, tables[2]]).method == "entropy+union"


def test_one_table_is_its_own_union():
    table = made("1", {"a": (0, 1)}, "mse")

    assert merge([table]) == table


@given(st.permutations([made("1", {"a": (-1, 2)}), made("2", {"a": (0, 3)}), made("3", {"b": (0, 1)})]))
def test_the_order_of_the_tables_does_not_matter(tables):
    assert merge(tables) == merge(tables[::-1])


@pytest.mark.parametrize(
    ("change", "named"),
    [({"model_sha256": "n" * 64}, "one model"), ({"method": "mse"}, "one method"), ({"preset": "cifar10"}, "preset")],
)
def test_tables_that_differ_in_more_than_their_images_are_refused(change, named):
    first = made("1", {"a": (0, 1)})

    with pytest.raises(InputError, match=named):
        merge([first, replace(first, data_sha256="2", **change)])


def test_the_same_images_twice_are_refused():
    with pytest.raises(InputError, match="same images"):
        merge([made("1", {"a": (0, 1)}), made("1", {"a": (0, 1)})])


def test_no_table_is_refused():
    with pytest.raises(InputError, match="at least one"):
        merge([])


def test_changes_and_overlaps_are_those_worked_out_by_hand():
    first = {"grown": (-1.0, 1.0), "same": (0.0, 2.0), "apart": (1.0, 2.0), "born": (0.0, 0.0), "gone": (0.0, 1.0)}
    second = {"grown": (-1.0, 2.0), "same": (0.0, 2.0), "apart": (3.0, 4.0), "born": (0.0, 1.0), "new": (0.0, 1.0)}

    found = {change.tensor: change for change in diff(first, second)}

    assert (found["grown"].change, found["grown"].overlap) == (0.5, pytest.approx(2 / 3))
    assert (found["same"].change, found["same"].overlap) == (0, 1)
    assert (found["apart"].change, found["apart"].overlap) == (1, 0)  # zero included, the first is 2 wide
    assert (found["born"].change, found["born"].overlap) == (math.inf, 0)
    assert found["gone"].second is None is found["new"].first


def test_the_largest_change_comes_first():
    first = {"a": (0, 1), "b": (0, 1), "c": (0, 1)}

    assert [change.tensor for change in diff(first, {"a": (0, 1), "b": (0, 3), "c": (0, 2)})] == ["b", "c", "a"]


def test_an_infinite_change_is_null_in_json():
    assert diff({}, {"a": (0, 1)})[0].to_json()["change"] is None


@given(RANGES, RANGES)
def test_overlap_is_a_share_and_equal_ranges_do_not_change(first, second):
    for change in diff(first, second):
        assert 0 <= change.overlap <= 1
        assert (change.change == 0) == (change.first == change.second)
    assert all(change.change == 0 and change.overlap == 1 for change in diff(first, first))
