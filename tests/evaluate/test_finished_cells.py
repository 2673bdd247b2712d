"""A finished cell is found as it was kept, under all that it depends on, or it is measured again."""

import json
from pathlib import Path

import pytest

from robustmq_trt.core.record import Record
from robustmq_trt.core.statistics import wilson
from robustmq_trt.evaluate import finished_cells
from robustmq_trt.evaluate.finished_cells import FinishedCells
from robustmq_trt.evaluate.rates import failed, missing, record

CELL = {"engine": "e", "seed": 0}
CONTENT = {"b": [1, None, 0.1], "a": "text"}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Folder with one cell."""
    FinishedCells(tmp_path / "cells").keep(CELL, CONTENT)
    return tmp_path / "cells"


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_a_cell_is_found_by_the_next_run_as_it_was_kept(kept: Path) -> None:
    later = FinishedCells(kept)

    found = later.find(CELL)

    assert json.dumps(found) == json.dumps(CONTENT), "keys keep their order"
    assert later.summary() == f"Finished cells in '{kept}': 1 found, 0 measured and kept"


def test_another_cell_or_setting_is_not_found(kept: Path) -> None:
    assert FinishedCells(kept).find({**CELL, "seed": 1}) is None
    assert FinishedCells(kept, {"threads": 1}).find(CELL) is None


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("__version__", "9.9"),
        ("package_versions", lambda: {"onnxruntime": "9.9"}),
        ("cpu", lambda: {"model": "another"}),
        ("gpus", lambda: ["another"]),
        ("switches", lambda: {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    ],
)
def test_what_another_version_or_machine_measured_is_not_found(
    kept: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: object
) -> None:
    monkeypatch.setattr(finished_cells, name, other)

    assert FinishedCells(kept).find(CELL) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole.replace(b"0.1", b"0.2"),
        lambda whole: whole[:-9],
        lambda whole: b"",
        lambda whole: b"\xff\x00",
        lambda whole: b"[]",
        lambda whole: b'{"content": NaN, "sha256": ""}',
    ],
    ids=["flipped", "cut", "empty", "bytes", "foreign", "nan"],
)
def test_a_damaged_or_foreign_file_is_told_and_its_cell_measured_again(kept: Path, damage) -> None:
    path = only_file(kept)
    path.write_bytes(damage(path.read_bytes()))
    cells = FinishedCells(kept)

    assert cells.find(CELL) is None

    cells.keep(CELL, CONTENT)
    assert cells.summary().endswith("0 found, 1 measured and kept, 1 damaged and measured again")
    assert FinishedCells(kept).find(CELL) == CONTENT


def test_a_renamed_cell_is_no_other_cell(kept: Path) -> None:
    other = {**CELL, "seed": 1}
    path = only_file(kept)
    content = path.read_bytes()
    FinishedCells(kept).keep(other, "other")
    (named,) = set(kept.iterdir()) - {path}
    named.write_bytes(content)

    assert FinishedCells(kept).find(other) is None


def test_without_a_folder_nothing_is_found_or_kept() -> None:
    cells = FinishedCells()

    cells.keep(CELL, CONTENT)

    assert (cells.find(CELL), cells.kept) == (None, 0)


def measured(*records: Record):
    return lambda: list(records)


def never():
    raise AssertionError("a finished cell is measured")


def test_records_are_measured_once(tmp_path: Path) -> None:
    rows = [record("e", "clean", "accuracy", wilson(1, 3), 0), missing("e", "clean", "flips", "not installed", 0)]

    first = FinishedCells(tmp_path).records(CELL, measured(*rows))
    second = FinishedCells(tmp_path).records(CELL, never)

    assert [row.to_json() for row in first] == [row.to_json() for row in second] == [row.to_json() for row in rows]


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    cells = FinishedCells(tmp_path)
    row = record("e", "clean", "accuracy", wilson(1, 3), 0)

    cells.records(CELL, measured(row, failed("e", "clean", "flips", "out of order", 0)))

    assert cells.records(CELL, measured(row)) == [row]
    assert cells.kept == 1
