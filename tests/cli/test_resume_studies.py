"""A study that is killed goes on where it was, with the document of one that was not; what failed is tried again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import count

import pytest

from robustmq_trt import assets
from robustmq_trt.core.errors import EngineError
from robustmq_trt.evaluate import calibration_study
from robustmq_trt.export.qdq import quantize

EVAL, CALIB = assets.images_dir("eval"), assets.images_dir("calib")
STUDIES = {
    "transfer-matrix": ("--images", 48, "--attack", "mifgsm:eps=4", "--survival"),
    "grid": ("--images", 96),
    "quality": ("--images", 128),
    "mismatch": ("--calib-size", 32, "--images", 160),
    "scaling": ("--reductions", 2, "--factor", 3, "--pairs", 2, "--presets", "opencv-linear,opencv-nearest"),
    "calibration-study": ("--calib-size", 16, "--images", 16, "--methods", "minmax"),
}


def study(engines, name, *more):
    words = (name,) if "-" in name else ("preprocessing", name)
    if name in ("mismatch", "calibration-study"):
        subject = (assets.model_path(), "--calib", CALIB)
    else:
        subject = (engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx")
    return [str(w) for w in (*words, *subject, "--data", EVAL, *STUDIES[name], "--threads", 1, *more)]


def cells(path):
    return list(path.with_name(f"{path.name}.cells").glob("*.json"))


def counts(err):
    """Cells that were found and measured, as stderr says."""
    (found, kept) = re.search(r"Finished cells in '.*': (\d+) found, (\d+) measured and kept", err).groups()
    return int(found), int(kept)


def kill(argv, path, when):
    """Run a study and kill it when so many of its cells are stored."""
    script = f"import sys; from robustmq_trt.cli.main import main; sys.exit(main({argv!r}))"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(cells(path)) < when and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    return process.wait()


@pytest.mark.parametrize("name", STUDIES)
def test_a_killed_study_ends_with_the_same_document(command, engines, tmp_path, name):
    whole, broken = tmp_path / "whole.json", tmp_path / "broken.json"
    code, _, err = command(*study(engines, name, "-o", whole))
    found, total = counts(err)
    assert (code, found) == (0, 0)

    ended = kill(study(engines, name, "-o", broken), broken, total // 3)
    stored = len(cells(broken))
    _, _, err = command(*study(engines, name, "-o", broken))

    assert ended == -signal.SIGKILL
    assert 0 < stored < total, "the kill has to hit a study that is under way"
    assert counts(err) == (stored, total - stored)
    assert broken.read_bytes() == whole.read_bytes()


def quality(engines, path, *more):
    return study(engines, "quality", "--images", 64, "--qualities", "50", "-o", path, *more)


@pytest.fixture
def done(command, engines, tmp_path):
    """A finished study of four cells."""
    path = tmp_path / "quality.json"
    assert counts(command(*quality(engines, path))[2]) == (0, 4)
    return path


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ((), 4),
        (("--images", 32), 2),  # the first batch of a larger draw is all of a smaller one
        (("--qualities", "50,10"), 0),
        (("--preset", "opencv-linear"), 0),
        (("--threads", 2), 0),
        (("--seed", 1), 0),
    ],
)
def test_only_cells_of_the_same_question_are_taken(command, engines, done, more, found):
    _, _, err = command(*quality(engines, done, *more))

    assert counts(err)[0] == found


def test_cells_of_another_engine_of_the_same_name_are_not_taken(command, engines, done, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("embedded.fp32.onnx", "embedded.w8a8.onnx"):
        shutil.copy(engines / "embedded.fp32.onnx", other / name)

    _, _, err = command(*quality(other, done))

    assert counts(err) == (2, 2)


def test_a_damaged_cell_is_told_and_measured_again(command, engines, done):
    document = done.read_bytes()
    damaged = cells(done)[0]
    damaged.write_bytes(damaged.read_bytes()[:-20])

    code, _, err = command(*quality(engines, done))

    assert code == 0
    assert "3 found, 1 measured and kept, 1 damaged and measured again" in err
    assert done.read_bytes() == document


def test_a_file_where_the_cells_belong_is_refused_before_the_work(refused, engines, tmp_path):
    (tmp_path / "found.json.cells").write_text("mine")

    said = refused(*quality(engines, tmp_path / "found.json"))

    assert "a file lies there" in said
    assert "Finished cells" not in said


def test_without_a_document_nothing_is_kept(command, engines, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    _, _, err = command(*quality(engines, "gone.json")[:-2])

    assert "Finished cells" not in err
    assert list(tmp_path.iterdir()) == []


FEW = {
    "transfer-matrix": ("--images", 8, "--attack", "fgsm:eps=4"),
    "quality": ("--images", 40, "--qualities", "50"),
    "scaling": ("--pairs", 1, "--presets", "opencv-nearest,opencv-linear"),
    "calibration-study": ("--images", 8),
}


@pytest.fixture
def broken(engines, fragile, monkeypatch):
    """Let an engine of a study fail after some calls."""

    def quantized(*arguments, **settings):
        if next(made) == 1:
            raise EngineError("The engine died.")
        return quantize(*arguments, **settings)

    made = count()
    fragile(engines / "embedded.w8a8.onnx", 3)
    monkeypatch.setattr(calibration_study, "quantize", quantized)


@pytest.mark.parametrize("name", FEW)
def test_what_failed_is_tried_again(command, engines, tmp_path, monkeypatch, broken, name):
    argv = study(engines, name, *FEW[name], "-o", tmp_path / "found.json")
    code, _, err = command(*argv)
    before = counts(err)
    monkeypatch.undo()

    again, _, err = command(*argv)

    found, kept = counts(err)
    assert (code, again) == (3, 0)
    assert before == (0, found)
    assert min(found, kept) > 0
    assert b"failed" not in (tmp_path / "found.json").read_bytes()
