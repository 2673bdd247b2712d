"""What `evaluate` makes of an image, it makes once for all engines of a run."""

import json

import pytest

from robustmq_trt import assets
from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate import cells
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
