import json
from dataclasses import replace

import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.ranges import FORMAT, RangeTable


def table() -> RangeTable:
    return RangeTable(
        method="entropy", images=64, model_sha256="m", data_sha256="d", preset="torchvision", ranges={"x": (-1.5, 2.0)}
    )


@pytest.mark.parametrize("bounds", [(-1.5, 2.0), (0.0, 0.0)], ids=["two values", "a tensor that never fires"])
def test_a_table_comes_back_as_saved(tmp_path, bounds):
    saved = replace(table(), ranges={"x": bounds})

    saved.save(tmp_path / "ranges.json")

    assert RangeTable.load(tmp_path / "ranges.json") == saved


@pytest.mark.parametrize("bounds", [[1, 0], [0, "inf"], [0], ["a", 1], [0, 1, 2], None])
def test_a_range_that_is_no_range_is_refused_by_its_tensor_s_name(tmp_path, bounds):
    path = tmp_path / "ranges.json"
    table().save(path)
    document = json.loads(path.read_text())
    document["ranges"]["x"] = bounds
    path.write_text(json.dumps(document))

    with pytest.raises(InputError, match="not a complete range table: range of tensor 'x' is"):
        RangeTable.load(path)


@pytest.mark.parametrize("text", ["", "[1]", "{}", json.dumps({"format": FORMAT})])
def test_a_file_that_is_no_table_is_refused(tmp_path, text):
    path = tmp_path / "ranges.json"
    path.write_text(text)

    with pytest.raises(InputError, match=r"ranges\.json"):
        RangeTable.load(path)


def test_a_missing_table_is_said(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        RangeTable.load(tmp_path / "none.json")
