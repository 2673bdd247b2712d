"""A record is read back from JSON as it was written."""

import json
import math

from robustmq_trt.core.record import Comparison, Record

COMPARISON = Comparison(
    reference="float",
    difference=-0.1,
    low=-0.3,
    high=0.1,
    p_value=0.25,
    p_holm=0.5,
    wrong_to_right=1,
    right_to_wrong=3,
    detectable=0.4,
    verdict="not distinguishable",
)


def record(**changes: object) -> Record:
    fields = {"engine": "e", "condition": "clean", "metric": "accuracy", "value": 0.1 + 0.2, "low": 0.0, "high": 1.0}
    return Record(**{**fields, "n": 10, "seed": 3, **changes})


def test_a_record_comes_back_from_json_as_it_was():
    written = record(flags=("tied",), identity={"b": 1, "a": [2]}, comparison=COMPARISON)

    read = Record.from_json(json.loads(json.dumps(written.to_json())))

    assert read == written
    assert list(read.identity) == ["b", "a"]


def test_what_could_not_be_measured_stays_unmeasured():
    read = Record.from_json(record(value=math.nan, low=math.nan, high=math.inf, n=0).to_json())

    assert all(map(math.isnan, (read.value, read.low, read.high)))
