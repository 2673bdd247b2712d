"""`build`: what it promises, and that bad input leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from robustmq_trt import assets
from robustmq_trt.cli.build import size_beside_float
from robustmq_trt.core.files import sha256_file
from robustmq_trt.export.lint import lint


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "calibration"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")
    return folder


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def left_behind(output) -> list[str]:
    return sorted(path.name for path in output.rglob("*")) if output.exists() else []


def test_bits_8_builds_the_embedded_model_into_integers(command, output):
    code, out, _ = command("build", "--bits", "8", "-o", output, "--calib-size", "16", "--json")

    result = json.loads(out)
    assert code == 0
    assert set(result) >= {
        *("path", "sha256", "size_bytes", "precision", "integer_coverage", "layers_float", "calibration"),
    }
    assert result["precision"] == "w8a8"
    assert result["integer_coverage"] >= 0.98
    assert result["sha256"] == sha256_file(output / "embedded.w8a8.onnx")
    assert result["calibration"]["images"] == 16


def test_a_file_that_grew_is_not_called_smaller():
    assert size_beside_float(7_835, 6_200) == "1.3x larger than float"


def test_the_card_names_what_the_engine_was_made_from(engines, built):
    manifest = json.loads((engines / "embedded.w8a8.calibration.json").read_text())

    assert built["parents"]["model"] == sha256_file(engines / "embedded.fp32.onnx")
    assert len(manifest) == 32
    assert built["preset"]["size"] == [64, 64]


def test_saved_ranges_give_the_same_engine(command, engines, tmp_path):
    code, _, _ = command("build", "--ranges", engines / "embedded.w8a8.ranges.json", "-o", tmp_path)

    assert code == 0
    assert sha256_file(tmp_path / "embedded.w8a8.onnx") == sha256_file(engines / "embedded.w8a8.onnx")


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy", "mse"])
def test_every_calibrator_builds(command, images, output, method):
    code, out, _ = command("build", assets.model_path(), "--calib", images, "--method", method, "-o", output, "--json")

    assert code == 0
    assert json.loads(out)["calibration"]["method"] == method


def test_a_coverage_below_the_required_one_fails_and_leaves_nothing(refused, images, output, tmp_path):
    model = onnx.load(assets.model_path())
    path = tmp_path / "model.onnx"
    onnx.save(_with_float_tail(model), path)

    message = refused("build", path, "--calib", images, "--require-integer", "1.0", "-o", output, code=1)

    assert "below the required 1.0000" in message
    assert left_behind(output) == []


def _with_float_tail(model: onnx.ModelProto) -> onnx.ModelProto:
    """Append a layer for which the runtime has no integer kernel: logits times a matrix, written as an Einsum."""
    graph = model.graph
    name = graph.output[0].name
    weight = numpy_helper.from_array(np.eye(10, dtype=np.float32), "tail_weight")
    graph.initializer.append(weight)
    graph.node.append(helper.make_node("Einsum", [name, "tail_weight"], ["tail"], equation="ij,jk->ik"))
    graph.output[0].name = "tail"
    return model


def corrupt_file(path):
    path.write_bytes(assets.model_path().read_bytes()[:5000])


def not_a_classifier(path):
    text = '<ir_version: 8, opset_import: ["":17]> f (int64[N,7] x) => (int64[N,7] y) {y = Identity(x)}'
    onnx.save(onnx.parser.parse_model(text), path)


def empty_file(path):
    path.write_bytes(b"")


def missing_file(path):
    assert not path.exists()


@pytest.mark.parametrize("make", [corrupt_file, not_a_classifier, empty_file, missing_file])
def test_a_model_that_is_none_is_refused(refused, images, output, tmp_path, make):
    path = tmp_path / "model.onnx"
    make(path)

    refused("build", path, "--calib", images, "-o", output)

    assert left_behind(output) == []


def test_external_data_outside_the_model_s_folder_is_refused_for_security(refused, images, output, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    model = onnx.load(assets.model_path())
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "weights.bin")

    refused("build", folder / "model.onnx", "--calib", images, "-o", output, code=4)

    assert left_behind(output) == []


@pytest.mark.parametrize("bits", ["0", "1", "9", "-8", "eight"])
def test_unknown_bits_are_refused(refused, bits):
    refused("build", "--bits", bits)


@pytest.mark.parametrize(
    ("options", "precision"),
    [(["--bits", "4"], "w4a4"), (["--weights", "4"], "w4a8"), (["--bits", "6", "--activations", "8"], "w6a8")],
)
def test_fewer_bits_run_in_integers_and_say_what_they_are(command, output, options, precision):
    code, out, _ = command("build", *options, "--calib-size", "16", "-o", output)
    card = json.loads((output / f"embedded.{precision}.onnx.card.json").read_text())

    assert code == 0
    assert f"a {precision[1]}-bit grid in int8 kernels" in out
    assert "INT4" not in out
    assert card["audit"]["integer_coverage"] >= 0.98


def test_a_recipe_names_the_layers_that_stay_in_float(command, output, tmp_path):
    names = [node.name for node in onnx.load(assets.model_path()).graph.node if node.op_type == "Gemm"]
    (tmp_path / "recipe.toml").write_text(f'precision = "w8a8"\n[layers."{names[0]}"]\nfloat = true\n')

    code, out, _ = command("build", "--recipe", tmp_path / "recipe.toml", "--calib-size", "16", "-o", output, "--json")

    assert code == 0
    assert json.loads(out)["layers_float"] == 1


@pytest.mark.parametrize("bits", ["8", "4"])
def test_the_tensorrt_profile_gives_the_canonical_file_and_its_lowering(command, output, bits):
    code, out, _ = command("build", "--profile", "trt-s8", "--bits", bits, "--calib-size", "16", "-o", output, "--json")

    result = json.loads(out)
    assert code == 0
    assert result["integer_coverage"] >= 0.98
    assert [finding for finding in lint(onnx.load(result["canonical"])) if finding.severity == "error"] == []


def test_calibration_folders_without_usable_images_are_refused(refused, output, tmp_path):
    empty, texts, broken = (tmp_path / name for name in ("empty", "texts", "broken"))
    for folder in (empty, texts, broken):
        folder.mkdir()
    (texts / "readme.txt").write_text("no image")
    (broken / "0.jpg").write_bytes(b"no image")

    for folder in (empty, texts, broken, tmp_path / "missing"):
        refused("build", assets.model_path(), "--calib", folder, "-o", output)

    assert left_behind(output) == []


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--preset", "torchvison", "Did you mean 'torchvision'"),
        ("--method", "entrop", "Did you mean 'entropy'"),
        ("--target", "abacus", "Available: onnxruntime"),
        ("--ranges", "missing.json", "does not exist"),
        ("--calib-size", "0", "above 0"),
        ("--require-integer", "2", "from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_hint(refused, images, output, option, value, word):
    message = refused("build", assets.model_path(), "--calib", images, "-o", output, option, value)

    assert word in message
    assert left_behind(output) == []


def test_a_model_of_your_own_needs_calibration_images(refused, output):
    assert "pass --calib DIR" in refused("build", assets.model_path(), "-o", output)


def interrupt_build(images, output):
    argv = ["build", str(assets.model_path()), "--calib", str(images), "-o", str(output)]
    script = f"import sys; from robustmq_trt.cli.main import main; sys.exit(main({argv!r}))"
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "Quantizing" not in process.stderr.readline():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    code = process.wait(timeout=60)
    process.stderr.close()
    return code, rest


def test_an_interrupted_build_leaves_nothing(images, tmp_path):
    for attempt in range(10):  # a build may end before the signal reaches it
        output = tmp_path / str(attempt)
        code, rest = interrupt_build(images, output)
        if code:
            break

    assert code == 130, rest
    assert left_behind(output) == []
