"""A build that is killed while it calibrates on many images goes on where it was, with the file of one that was not."""

import os
import re
import signal
import subprocess
import sys
import time

import onnx
import pytest

from robustmq_trt import assets
from robustmq_trt.calib.calibrate import calibrate, choose, plan_of
from robustmq_trt.cli import calibration
from robustmq_trt.cli.progress import Progress
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.sources import open_dataset

PART, PARTS = 16, 6


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(calibration, "_PART", PART)


def build(output, *more):
    images = ("--calib", assets.images_dir("eval"), "--calib-size", PART * PARTS)
    return [str(word) for word in ("build", assets.model_path(), *images, "--threads", 1, "-o", output, *more)]


def cells(output):
    return list((output / "calibration.cells").glob("*.json"))


def counts(err):
    (found, kept) = re.search(r"Finished cells in '.*': (\d+) found, (\d+) measured and kept", err).groups()
    return int(found), int(kept)


def killed(output, when, *more):
    """Kill a build when so many parts of its calibration are stored; give how many there are then."""
    script = (
        "import sys; from robustmq_trt.cli import calibration; from robustmq_trt.cli.main import main; "
        f"calibration._PART = {PART}; sys.exit(main({build(output, *more)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(cells(output)) < when and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return len(cells(output))


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_a_killed_build_ends_with_the_same_files(command, tmp_path, method):
    code, _, err = command(*build(tmp_path / "whole", "--method", method))
    assert (code, counts(err)) == (0, (0, PARTS))

    stored = killed(tmp_path / "broken", 2, "--method", method)
    code, _, err = command(*build(tmp_path / "broken", "--method", method))

    assert 0 < stored < PARTS, "the kill has to hit a calibration that is under way"
    assert (code, counts(err)) == (0, (stored, PARTS - stored))
    for name in ("w8a8.onnx", "w8a8.ranges.json", "w8a8.calibration.json"):
        one, other = (tmp_path / folder / f"model.{name}" for folder in ("whole", "broken"))
        assert one.read_bytes() == other.read_bytes()
    assert not any((tmp_path / folder / "calibration.cells").exists() for folder in ("whole", "broken"))


def test_parts_give_the_ranges_of_the_whole(command, tmp_path, monkeypatch):
    command(*build(tmp_path / "parts", "--method", "percentile:99.9"))
    monkeypatch.setattr(calibration, "_PART", PART * PARTS)
    _, _, err = command(*build(tmp_path / "whole", "--method", "percentile:99.9"))

    one, other = (tmp_path / folder / "model.w8a8.ranges.json" for folder in ("parts", "whole"))
    assert one.read_bytes() == other.read_bytes()
    assert "Finished cells" not in err


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (("--method", "minmax"), True),
        (("--method", "percentile"), False),  # needs histograms, which minmax does not
        (("--preset", "opencv-linear"), False),
        (("--seed", 1), False),
        (("--equalise",), False),
    ],
)
def test_only_parts_of_the_same_calibration_are_taken(command, tmp_path, more, found):
    stored = killed(tmp_path, 2)

    _, _, err = command(*build(tmp_path, *more))

    assert counts(err)[0] == (stored if found else 0)


def test_a_damaged_part_is_measured_again(command, tmp_path):
    stored = killed(tmp_path, 2)
    cells(tmp_path)[0].write_text("{")

    code, _, err = command(*build(tmp_path))

    assert (code, counts(err)) == (0, (stored - 1, PARTS - stored + 1))
    assert "1 damaged and measured again" in err


def test_a_file_in_the_folder_s_place_is_refused(command, tmp_path):
    (tmp_path / "calibration.cells").write_text("mine")

    code, _, err = command(*build(tmp_path))

    assert code == 2
    assert "calibration.cells', but a file lies there" in err


def test_parts_hold_whole_batches_of_a_model_fixed_to_one(tmp_path):
    model = onnx.load(assets.model_path())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    height, width = (side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim[2:])
    dataset = open_dataset(assets.images_dir("eval"), unlabelled=True).subset(36, 0)
    images = calibration.CalibrationImages(dataset, find_preset("torchvision").for_size(height, width))
    request = calibration.BuildRequest(output=tmp_path, threads=1)
    plan = plan_of(model, ["minmax"])

    seen = calibration._seen(request, model, images, plan, Progress(quiet=True))

    assert len(cells(tmp_path)) == 3  # 15, 15 and 6 images, where parts of 16 would leave one over
    assert choose(model, seen, ["minmax"]) == calibrate(model, images.batches, methods=["minmax"], threads=1)


def test_an_image_that_does_not_decode_is_left_out_once(command, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, path in enumerate(sorted(assets.images_dir("eval").rglob("*.jpg"))[: PART * 2]):
        (folder / f"{number:02}.jpg").write_bytes(path.read_bytes() if number else b"no image")

    code, _, err = command("build", assets.model_path(), "--calib", folder, "--calib-size", 32, "-o", tmp_path / "out")

    assert code == 0
    assert err.count("Left out of calibration: 00.jpg") == 1
    assert '"images": 31' in (tmp_path / "out" / "model.w8a8.ranges.json").read_text()
