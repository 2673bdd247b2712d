"""`evaluate --attack universal` and `patch`: learned on images that are not attacked, or not measured at all."""

import json
import shutil
from dataclasses import replace

import pytest

from robustmq_trt import assets
from robustmq_trt.core.store import Store
from robustmq_trt.inputs.sources import open_dataset

UNIVERSAL = "universal:eps=8,steps=2,images=32"
PATCH = "patch:area=5,steps=2,images=40"
FEW = ("--latency", "0", "--threads", "1", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def pair(engines):
    return engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx"


@pytest.fixture
def result(command, pair, folder):
    attacks = ("--attack", UNIVERSAL, "--attack", PATCH.replace("area=5", "area=0.05"))
    code, out, err = command(
        *("evaluate", *pair, "--data", assets.images_dir("eval"), "-o", folder, "--images", "24", *FEW, *attacks)
    )
    assert code == 0, err
    return json.loads(out)


def test_every_row_says_what_was_learned_on_and_that_nothing_is_asked(result, folder):
    """Reference: the images are those that the seed draws after the attacked ones."""
    data = open_dataset(assets.images_dir("eval"))
    attacked, others = data.split(24, 0)
    with Store(folder / "results.sqlite") as store:
        tasks = {task.condition: task for task in store.tasks() if task.engine == "embedded.w8a8"}

    for condition, count in ((UNIVERSAL, 32), (PATCH, 40)):
        identity = tasks[condition].identity
        assert identity["score_access"] == "none"
        assert identity["learned_on"] == replace(others, samples=others.samples[:count]).manifest_sha256
        assert {row.image for row in tasks[condition].rows} == {sample.sha256 for sample in attacked.samples}
    assert "norm" not in tasks[UNIVERSAL].identity
    for condition in (PATCH, "patch_control:area=5"):
        assert tasks[condition].identity["norm"] == "patch"
    assert 0 < max(row.linf for row in tasks[UNIVERSAL].rows) <= 8


def test_a_patch_is_reported_beside_its_control_with_norm_patch(result):
    records = {(r["engine"], r["condition"]): r for r in result["records"] if r["metric"] == "robust_accuracy"}

    for engine in ("embedded.fp32", "embedded.w8a8"):
        for condition in (UNIVERSAL, PATCH, "patch_control:area=5", "worst-case:norm=patch,area=5"):
            record = records[engine, condition]
            assert record["n"] == 24
            assert record["low"] <= record["value"] <= record["high"]


def test_with_no_other_images_left_the_cell_is_skipped_with_the_reason(command, pair, tmp_path):
    data = assets.images_dir("eval")
    code, out, err = command(
        *("evaluate", *pair, "--data", data, "-o", tmp_path, "--attack", "patch:images=50", *FEW, "--images", "180")
    )

    assert code == 0, err
    totals = json.loads(out)["totals"]
    assert (totals["skipped"], totals["failed"]) == (2, 0)
    assert "20 of the data are left" in totals["reasons"][0]["reason"]
    assert not [r for r in json.loads(out)["records"] if "patch" in r["condition"]]


def test_an_image_of_the_same_content_as_an_attacked_one_teaches_nothing(command, pair, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(assets.images_dir("eval"), data)
    for path in list(data.rglob("*.jpg")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))

    code, out, err = command(
        *("evaluate", pair[0], "--data", data, "-o", tmp_path / "run", "--attack", "universal:images=150"),
        *(*FEW, "--images", "200"),
    )

    assert code == 0, err
    with Store(tmp_path / "run" / "results.sqlite") as store:
        attacked = {row.image for task in store.tasks() if task.condition == "clean" for row in task.rows}
    left = 2 * (200 - len(attacked))
    assert f"and {left} of the data are left" in json.loads(out)["totals"]["reasons"][0]["reason"]


def test_an_area_beyond_half_of_the_image_is_refused_in_a_sentence(refused, pair):
    said = refused("evaluate", *pair, "--data", assets.images_dir("eval"), "--attack", "patch:area=0.6")

    assert "`area` in 1..50" in said
