"""What `evaluate` makes of an image, it makes once for all engines of a run."""

import json

import pytest

from robustmq_trt import assets
from robustmq_trt.cli.report import open_results
from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate import cells, runner
from robustmq_trt.inputs import pipeline

IMAGES = 8


def evaluate(command, engines, folder, *conditions):
    targets = (engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx")
    data = ("--data", assets.images_dir("eval"), "--images", IMAGES, "--threads", "1", "--latency", "0", "--quiet")
    return command("evaluate", *targets, *data, *conditions, "-o", folder)


@pytest.fixture
def decoded(monkeypatch):
    """The stored images that OpenCV decoded: it serves the presets, and no other part of a run asks for it."""
    files = {path.read_bytes() for path in assets.images_dir("eval").glob("*/*.jpg")}
    found, original = [], pipeline.decode

    def recorded(content, **how):
        if how["decoder"] == "opencv" and content in files:
            found.append(content)
        return original(content, **how)

    monkeypatch.setattr(pipeline, "decode", recorded)
    return found


def test_an_image_is_corrupted_once_for_all_engines(command, engines, tmp_path, monkeypatch):
    corrupted, original = [], cells.corrupt_with

    def recorded(image, name, *settings, **how):
        corrupted.append(name)
        return original(image, name, *settings, **how)

    monkeypatch.setattr(cells, "corrupt_with", recorded)

    code, _, _ = evaluate(command, engines, tmp_path / "run", "--corruption", "glass_blur:3", "--corruption", "jpeg:3")

    assert code == 0
    assert corrupted == ["glass_blur"] * IMAGES + ["jpeg"] * IMAGES


def test_a_file_is_decoded_once_for_all_engines_and_presets_of_a_decoder(command, engines, tmp_path, decoded):
    shifts = [word for name in ("opencv-linear", "opencv-nearest", "opencv-area") for word in ("--shift", name)]

    code, _, _ = evaluate(command, engines, tmp_path / "run", *shifts)

    assert code == 0
    assert len(decoded) == len(set(decoded)) == IMAGES


def test_what_is_stored_is_not_decoded_again(command, engines, tmp_path, decoded):
    assert evaluate(command, engines, tmp_path / "run", "--shift", "opencv-area")[0] == 0
    decoded.clear()

    code, _, _ = evaluate(command, engines, tmp_path / "run", "--shift", "opencv-area")

    assert code == 0
    assert decoded == []


def test_the_next_engine_finds_its_images_decoded_and_corrupted(command, engines, tmp_path, monkeypatch, decoded):
    corrupted, original = [], cells.corrupt_with

    def recorded(image, name, *settings, **how):
        corrupted.append(name)
        return original(image, name, *settings, **how)

    monkeypatch.setattr(cells, "corrupt_with", recorded)
    shown = ("--corruption", "glass_blur:3", "--shift", "opencv-area", "--attack", "noise:eps=2")
    data = ("--data", assets.images_dir("eval"), "--images", IMAGES, "--threads", "1", "--latency", "0")
    kept = ("--prepared", tmp_path / "sets")
    assert evaluate(command, engines, tmp_path / "both", *shown)[0] == 0
    assert command("evaluate", engines / "embedded.fp32.onnx", *data, *shown, *kept, "-o", tmp_path / "one")[0] == 0
    made = len(corrupted)
    decoded.clear()

    code, _, err = command("evaluate", engines / "embedded.w8a8.onnx", *data, *shown, *kept, "-o", tmp_path / "two")

    assert code == 0
    assert (len(corrupted), decoded) == (made, [])
    assert "Prepared sets: 3 found, 0 made and kept" in err
    assert answers(tmp_path / "both") == answers(tmp_path / "one") + answers(tmp_path / "two")


def answers(folder):
    with open_results(folder) as store:
        tasks = sorted(store.tasks(), key=lambda task: (task.engine, task.condition))
    return [(task.engine, task.condition, task.rows) for task in tasks]


def test_the_next_engine_finds_the_grid_prepared(command, engines, tmp_path, decoded):
    data = ("--data", assets.images_dir("eval"), "--images", IMAGES, "--threads", "1", "--prepared", tmp_path / "sets")
    assert command("preprocessing", "quality", engines / "embedded.fp32.onnx", *data, "--quiet")[0] == 0

    code, _, err = command("preprocessing", "quality", engines / "embedded.w8a8.onnx", *data)

    assert code == 0
    assert "9 found, 0 made" in err


def test_a_folder_for_prepared_images_that_cannot_be_made_is_refused(refused, engines, tmp_path):
    (tmp_path / "file").write_text("")
    data = ("--data", assets.images_dir("eval"), "--prepared", tmp_path / "file")

    assert "cannot be kept in" in refused("evaluate", engines / "embedded.fp32.onnx", *data)
    assert "above 0" in refused("evaluate", engines / "embedded.fp32.onnx", *data, "--prepared-gib", "0")


def test_a_route_is_taken_once_for_all_engines_and_apart_where_each_has_its_own_images(
    command, engines, tmp_path, monkeypatch
):
    taken, original = [], runner.through

    def recorded(images, route, pipeline):
        taken.append(route.name)
        return original(images, route, pipeline)

    monkeypatch.setattr(runner, "through", recorded)
    attacks = ("--attack", "fgsm:eps=4", "--attack", "noise:eps=4")

    assert evaluate(command, engines, tmp_path / "run", *attacks, "--survival")[0] == 0

    once = ["lossless", "jpeg:95", "jpeg:90", "jpeg:75"]  # clean, fgsm
    assert taken == [*once, *once, *(name for name in once for _ in range(2))]


def test_an_image_that_only_a_preset_cannot_prepare_fails_that_cell_with_a_sentence(
    command, engines, tmp_path, monkeypatch
):
    bad, original = max(assets.images_dir("eval").glob("*/*.jpg")).read_bytes(), pipeline.decode

    def refusing(content, **how):
        if how["decoder"] == "opencv" and content == bad:
            raise InputError("It does not decode.")
        return original(content, **how)

    monkeypatch.setattr(pipeline, "decode", refusing)
    monkeypatch.setitem(globals(), "IMAGES", 200)

    code, out, _ = evaluate(command, engines, tmp_path / "run", "--shift", "opencv-area", "--json")

    document = json.loads(out)
    assert code == 3
    assert document["totals"]["failed"] == 2
    assert all(
        "cannot prepare 1 of the images; the first: It does not" in entry["reason"]
        for entry in document["totals"]["reasons"]
    )
