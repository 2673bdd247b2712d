"""`calibration-study` from the command line, on the embedded model and images."""

import json
from itertools import count

import numpy as np
import pytest

from robustmq_trt import assets
from robustmq_trt.core.errors import EngineError
from robustmq_trt.evaluate import calibration_study
from robustmq_trt.export.qdq import quantize


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """24 labelled images of the embedded model's size."""
    path = tmp_path_factory.mktemp("pool") / "pool.npz"
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (24, 64, 64, 3), dtype=np.uint8), labels=np.arange(24) % 10)
    return path


def study(pool, *more):
    preset = ("--calib-size", "8", "--images", "8", "--methods", "minmax", "--threads", "1")
    return ("calibration-study", assets.model_path(), "--calib", pool, "--data", pool, *preset, *more)


def test_no_evaluated_image_is_calibrated_with(command, pool, tmp_path):
    code, out, _ = command(*study(pool, "--json", "-o", tmp_path / "study.json"))

    document = json.loads(out)
    assert code == 0
    assert (document["images"], document["pool_images"]) == (8, 16)
    assert json.loads((tmp_path / "study.json").read_text()) == document
    names = {record["identity"]["set"] for record in document["records"]}
    assert {"float", "random:8,seed=0", "all", "uniform-noise", "poison:mifgsm"} <= names
    missing = {record["engine"] for record in document["records"] if not record["n"]}
    assert {"random:32,seed=0", "random:128,seed=0"} <= missing


def test_an_engine_that_fails_is_noted_below_the_others_and_makes_the_run_partial(command, pool, tmp_path, monkeypatch):
    made = count()

    def one_fails(model, *arguments, **settings):
        if next(made) == 1:
            raise EngineError("The engine died.")
        return quantize(model, *arguments, **settings)

    monkeypatch.setattr(calibration_study, "quantize", one_fails)

    code, out, _ = command(*study(pool, "-o", tmp_path / "study.json"))

    assert code == 3
    assert "-0.0" not in out
    assert "note: random:8,seed=1/minmax: failed: The engine died." in out
    assert "random:8,seed=2" in out
    assert len(json.loads((tmp_path / "study.json").read_text())["records"]) > 20


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--methods", "magic"), "magic"),
        (("--methods", ","), "minmax"),
        (("--attack", "square"), "transfer attack"),
        (("--attack", "nothing"), "nothing"),
        (("--images", "24"), "Evaluate fewer"),
        (("--calib-size", "17"), "at least 17"),
        (("--preset", "nowhere"), "nowhere"),
        (("--surrogate", "none.onnx"), "none.onnx"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(refused, pool, more, said):
    assert said in refused(*study(pool, *more))


@pytest.mark.parametrize("more", [("--attack", "square"), ("--calib-size", "17")])
def test_what_is_refused_is_refused_before_images_are_attacked(refused, pool, more):
    assert "Attacking" not in refused(*study(pool, *more))


def test_a_folder_that_is_not_there_is_refused(refused, pool, tmp_path):
    assert "gone" in refused("calibration-study", assets.model_path(), "--calib", tmp_path / "gone", "--data", pool)
