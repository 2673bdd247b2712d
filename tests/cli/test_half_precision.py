"""A float16 model, its input and scores included, goes through build, evaluate, audit and latency like any other."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from robustmq_trt import assets
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.sources import open_dataset

DATA = ("--data", assets.images_dir("eval"), "--images", "8", "--threads", "1", "--quiet", "--json")
BACKENDS = ("onnxruntime", "openvino")
NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float16[N,3,32,32] image) => (float16[N,10] logits) {
    a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w1, b1)
    r = Relu (a)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    logits = Gemm <transB = 1> (f, w2, b2)
}"""
SHAPES = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (10, 8), "b2": (10,)}


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, rng = parser.parse_model(NET), np.random.default_rng(0)
    for name, shape in SHAPES.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float16), name))
    path = tmp_path_factory.mktemp("half") / "half.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_pixels_reach_the_engine_as_float16_and_its_scores_are_right(half: Path, backend: str) -> None:
    pipeline = find_preset("torchvision").for_size(32, 32)
    images = load_images(open_dataset(assets.images_dir("eval")).subset(4, 0), pipeline, threads=1).images
    engine = open_engine(f"{backend}:{half}", threads=1)

    scores = engine.infer(np.float16(pipeline.tensor(images)))
    engine.close()

    (expected,) = ReferenceEvaluator(onnx.load(half)).run(None, {"image": np.float16(pipeline.tensor(images))})
    assert engine.spec.dtype == "float16"
    # 72 roundings of 2**-11 at most on values of a few units
    np.testing.assert_allclose(scores, np.asarray(expected, np.float32), rtol=0.02, atol=0.05)


def test_evaluate_attacks_it_on_both_runtimes_with_its_own_gradients(command, half: Path, tmp_path: Path) -> None:
    targets = [half, f"openvino:{half}"]
    attacks = ("--attack", "fgsm:eps=4", "--attack", "square:eps=8,queries=5", "--latency", "0")

    code, out, err = command("evaluate", *targets, *DATA, *attacks, "--preset", "torchvision", "-o", tmp_path)

    assert code == 0, err
    totals = json.loads(out)["totals"]
    assert (totals["cells"], totals["measured"]) == (6, 6), totals


@pytest.mark.parametrize("backend", BACKENDS)
def test_audit_and_latency_take_it(command, half: Path, backend: str) -> None:
    code, out, err = command("audit", f"{backend}:{half}", "--json")
    assert code == 0, err
    assert {layer["compute"] for layer in json.loads(out)["layers"]} == {"float"}

    code, out, err = command("latency", f"{backend}:{half}", *DATA, "--preset", "torchvision", "--seconds", "0.05")
    assert code == 0, err
    (identity,) = json.loads(out)["identities"].values()
    assert identity["preset"]["dtype"] == "float16"


def test_build_quantizes_its_float32_form_and_says_so(command, half: Path, tmp_path: Path) -> None:
    calibration = ("--calib", assets.images_dir("calib"), "--calib-size", "8", "--preset", "torchvision")

    code, out, err = command("build", half, "-o", tmp_path, *calibration, "--json", "--quiet")

    assert code == 0, err
    built = json.loads(out)
    assert any("is in float16" in note for note in built["notes"])
    reference = onnx.load(tmp_path / "half.fp32.onnx")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in reference.graph.initializer}
    original = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(half).graph.initializer}
    assert all(value.dtype == np.float32 and np.array_equal(value, original[name]) for name, value in stored.items())
    code, _, err = command("evaluate", half, tmp_path / "half.w8a8.onnx", *DATA, "--latency", "0", "-o", tmp_path)
    assert code == 0, err
