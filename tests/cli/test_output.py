"""`-o` is refused before the work where it cannot be used, and a study's never replaces another document."""

import json
from pathlib import Path

import pytest

from robustmq_trt.cli.output import folder


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


@pytest.mark.parametrize("place", ["taken", "taken/run"])
@pytest.mark.parametrize(
    "asked",
    [
        ("evaluate", "model.onnx", "--data", "images", "-o"),
        ("build", "model.onnx", "-o"),
        ("demo", "-o"),
        ("corrupt", "images"),
    ],
    ids=lambda asked: asked[0],
)
def test_a_file_where_a_folder_belongs_is_named_before_the_work(refused, tmp_path, asked, place):
    (tmp_path / "taken").write_text("mine")
    found = "a file lies there" if place == "taken" else f"'{tmp_path / 'taken'}' is a file"

    said = refused(*asked, tmp_path / place)

    assert f"Expected a folder at '{tmp_path / place}', but {found}. Name another folder, or move the file" in said
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_that_is_not_there_yet_or_is_in_use_is_taken(tmp_path):
    places = [tmp_path, tmp_path / "new" / "run", Path("new")]

    assert [folder(place) for place in places] == places
