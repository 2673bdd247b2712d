"""What a quality costs: each engine against itself, against float, and the difference of the differences."""

import numpy as np
import pytest

from robustmq_trt.evaluate.quality_sweep import QUALITIES, STORED, quality_records, quality_ways


@pytest.fixture
def records(made_up):
    stored, float_low, int_low = (np.arange(200) < n for n in (180, 160, 100))
    return quality_records(
        made_up(
            {
                ("float", STORED): stored,
                ("float", "jpeg:10"): float_low,
                ("int8", STORED): stored,
                ("int8", "jpeg:10"): int_low,
            },
            broken={"gone": "crashed"},
        ),
        ["float", "int8", "gone"],
    )


def found(records, engine, condition, metric):
    (record,) = [r for r in records if (r.engine, r.condition, r.metric) == (engine, condition, metric)]
    return record


def test_the_ways_are_the_stored_files_and_every_quality(tiny_pipeline):
    ways = quality_ways(tiny_pipeline)

    assert [way.quality for way in ways] == [None, *QUALITIES]
    assert {way.pipeline for way in ways} == {tiny_pipeline}


def test_each_engine_is_compared_with_itself_on_the_stored_files(records):
    change = found(records, "float", "jpeg:10", "accuracy_change")

    assert change.value == pytest.approx(-0.1)
    assert (change.comparison.reference, change.comparison.right_to_wrong) == (STORED, 20)
    assert change.low < -0.1 < change.high
    assert found(records, "float", "jpeg:10", "flips").value == pytest.approx(0.1)


def test_the_difference_of_differences_is_worse_where_it_is_larger(records):
    difference = found(records, "int8", "jpeg:10", "drop_difference")

    assert difference.value == pytest.approx(0.3)
    assert (difference.comparison.reference, difference.comparison.verdict) == ("float", "worse")


def test_the_float_engine_is_compared_with_no_other(records):
    assert {r.metric for r in records if r.engine == "float" and r.comparison} == {"accuracy_change"}


def test_an_engine_that_broke_is_a_row_with_its_reason(records):
    gone = found(records, "gone", STORED, "accuracy")

    assert (gone.n, gone.flags) == (0, ("failed: crashed",))
