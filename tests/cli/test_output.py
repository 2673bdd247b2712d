"""A study's `-o FILE` is refused before the work where it cannot be written, and never replaces another document."""

import json

import pytest


def leverage(*more):
    return ("preprocessing", "scaling", "--reductions", *more)


def test_another_document_is_renamed_and_the_same_one_is_replaced(command, tmp_path):
    path = tmp_path / "found" / "leverage.json"
    command(*leverage("2", "-o", path))

    again = command(*leverage("2", "-o", path))
    other = command(*leverage("4", "-o", path))

    (kept,) = path.parent.glob("leverage-*.json")
    factors = [{figure["factor"] for figure in json.loads(file.read_text())["leverage"]} for file in (kept, path)]
    assert factors == [{2}, {4}]
    assert "Another document" not in again[2]
    assert f"it is '{kept}' now" in other[2]


@pytest.mark.parametrize("place", ["folder", "file/inside.json"])
def test_a_path_that_cannot_be_written_is_refused_before_the_work(refused, tmp_path, monkeypatch, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("robustmq_trt.cli.preprocessing.resizer_leverages", None)

    assert place.partition("/")[0] in refused(*leverage("2", "-o", tmp_path / place))
