"""`ranges`: show, diff and merge from the command line."""

import json

import pytest

from robustmq_trt import assets
from robustmq_trt.core.ranges import RangeTable


@pytest.fixture
def tables(tmp_path):
    """Two runs over one model, and one by another method."""

    def save(name: str, data: str, method: str, ranges) -> str:
        table = RangeTable(
            method=method, images=8, model_sha256="m" * 64, data_sha256=data, preset="cifar10", ranges=ranges
        )
        table.save(tmp_path / name)
        return str(tmp_path / name)

    return {
        "a": save("a.json", "1", "minmax", {"x": (-1.0, 1.0), "y": (0.0, 2.0)}),
        "b": save("b.json", "2", "minmax", {"x": (-1.0, 2.0), "y": (0.0, 2.0)}),
        "c": save("c.json", "1", "mse", {"x": (-0.5, 0.5), "y": (0.0, 1.0)}),
    }


def test_show_prints_every_tensor(command, tables):
    code, out, _ = command("ranges", "show", tables["a"])

    assert code == 0
    assert "robustmq: minmax, 8 images, 2 tensors" in out


def test_show_reads_a_tensorrt_cache(command, tmp_path):
    path = tmp_path / "calibration.cache"
    path.write_text("TRT-8601-EntropyCalibration2\ninput: 3b810a13\n")

    code, out, _ = command("ranges", "show", path, "--json")

    document = json.loads(out)
    assert code == 0
    assert (document["format"], document["symmetric"]) == ("tensorrt", True)
    assert document["ranges"]["input"][1] == pytest.approx(0.500122, rel=1e-6)


def test_diff_counts_what_changed(command, tables):
    code, out, _ = command("ranges", "diff", tables["a"], tables["b"])

    assert code == 0
    assert "1 of 2 tensors differ" in out
    assert "50.0%" in out


def test_diff_compares_methods_as_json(command, tables):
    _, out, _ = command("ranges", "diff", tables["a"], tables["c"], "--json")

    found = json.loads(out)["tensors"]
    assert [(entry["tensor"], entry["change"], entry["overlap"]) for entry in found] == [
        ("y", 0.5, 0.5),
        ("x", 0.25, 0.5),
    ]


def test_merge_writes_a_table_that_reads_back(command, tables, tmp_path):
    code, out, _ = command("ranges", "merge", tables["a"], tables["b"], "-o", tmp_path / "union.json", "--json")

    union = RangeTable.load(tmp_path / "union.json")
    assert code == 0
    assert json.loads(out)["images"] == union.images == 16
    assert union.ranges["x"] == (-1.0, 2.0)


def test_merging_two_methods_is_refused_and_writes_nothing(refused, tables, tmp_path):
    sentence = refused("ranges", "merge", tables["a"], tables["c"], "-o", tmp_path / "union.json")

    assert "one method" in sentence
    assert not (tmp_path / "union.json").exists()


@pytest.mark.parametrize("action", [("show",), ("diff", "a.json")])
def test_a_file_that_is_no_table_is_refused(refused, tables, tmp_path, monkeypatch, action):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")

    assert "not a complete calibration table" in refused("ranges", *action, "bad")


def test_the_ranges_of_a_build_can_be_shown(command, engines):
    code, out, _ = command("ranges", "show", engines / "embedded.w8a8.ranges.json", "--json")

    assert code == 0
    assert json.loads(out)["images"] == 32


def test_channels_of_a_transformer_are_shown_one_by_one(command):
    few = ("--calib", assets.images_dir("calib"), "--calib-size", "2")

    code, out, err = command("ranges", "channels", assets.model_path("vit"), *few, "--json")

    assert code == 0, err
    document = json.loads(out)
    assert document["images"] == 2
    assert len(document["tensors"]) > 4
    assert all(len(seen["low"]) == len(seen["high"]) > 1 for seen in document["tensors"].values())
    assert "peak" in command("ranges", "channels", assets.model_path("vit"), *few)[1]


def test_channels_of_a_convolutional_network_are_refused(refused):
    assert "no LayerNormalization" in refused(
        "ranges", "channels", assets.model_path(), "--calib", assets.images_dir("calib")
    )
