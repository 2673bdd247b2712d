import base64
import json
import math
from typing import Any

import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.report.document import Document


def test_a_document_survives_the_way_to_json_and_back(sample: dict[str, Any]) -> None:
    document = Document.from_json(sample)

    again = Document.from_json(json.loads(json.dumps(document.to_json(), allow_nan=False)))

    assert again.to_json() == document.to_json()


def test_null_figures_become_nan_and_go_back_to_null(sample: dict[str, Any]) -> None:
    sample["records"][0]["value"] = None

    document = Document.from_json(sample)

    assert math.isnan(document.records[0].value)
    assert document.to_json()["records"][0]["value"] is None


def test_records_are_read_as_the_core_writes_them(sample: dict[str, Any]) -> None:
    document = Document.from_json(sample)

    assert [record.to_json() for record in document.records] == sample["records"]


def test_sections_that_were_not_measured_may_be_left_out(sample: dict[str, Any]) -> None:
    for key in ("latency", "audits", "examples", "curves", "provenance"):
        del sample[key]

    assert Document.from_json(sample).latency == ()


def test_a_picture_tells_its_size(sample: dict[str, Any]) -> None:
    document = Document.from_json(sample)

    assert [example.images[0].pixels for example in document.examples] == [(128, 128), (32, 32)]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), "robustmq-report/2", "format 'robustmq-report/1'"),
        (("title",), 3, "a string in `document.title`"),
        (("targets", 0, "size_bytes"), 1.5, r"a whole number in `document.targets\[0\].size_bytes`"),
        (("targets", 0, "role"), "judge", "one of 'reference', 'candidate'"),
        (("targets", 1, "name"), "MobileNetV2 float", "one name per target"),
        (
            ("records", 2, "value"),
            True,
            r"a number or null in `document.records\[2\].value` of the report document, got True",
        ),
        (("records", 2, "value"), math.inf, "a finite number up to 1e15"),
        (("records", 2, "surprise"), 1, r"Unknown key 'surprise' in `document.records\[2\]`"),
        (("records", 1, "comparison", "verdict"), "meh", "not distinguishable"),
        (("latency",), {}, "a list in `document.latency`"),
        (("examples", 0, "images", 0, "png_base64"), "javascript:alert(1)", "a PNG in base64"),
        (("examples", 0, "images", 0, "png_base64"), base64.b64encode(b"GIF89a" * 9).decode(), "a PNG in base64"),
        (("provenance",), {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {}}}}}}}}}, "nests deeper than 8"),
        (("provenance",), {"seed": math.nan}, "a finite number"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    sample: dict[str, Any], path: tuple[Any, ...], value: Any, message: str
) -> None:
    place = sample
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(InputError, match=message):
        Document.from_json(sample)


@pytest.mark.parametrize("key", ["title", "targets", "dataset", "records", "totals"])
def test_a_missing_key_is_named(sample: dict[str, Any], key: str) -> None:
    del sample[key]

    with pytest.raises(InputError, match=f"Key '{key}' is missing"):
        Document.from_json(sample)


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_other_json_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="report document"):
        Document.from_json(data)
