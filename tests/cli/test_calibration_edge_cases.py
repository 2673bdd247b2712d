"""Calibration that goes wrong: what a build does with it, from the images to ONNX Runtime's answers, in both profiles.

Stated behaviour: one image is enough. Images that are all one flat colour, and activations that are not finite, are
refused. Dead channels, weights of zero, tensors that never fire and ranges of no width give a model with positive,
finite scales whose answers stay close to the float model's wherever that is what the calibration saw. Weights that two
layers share are stored once and serve both.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser
from PIL import Image

from robustmq_trt.calib.calibrate import calibrate
from robustmq_trt.calib.catalog import METHODS
from robustmq_trt.core.errors import InputError
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.export.lower import lower
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.profiles import PROFILES
from robustmq_trt.export.qdq import quantize

NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,8,8] image) => (float[N,5] logits) {
    [first] a = Conv<pads=[1,1,1,1]>(image, w1, b1)
    [relu] r = Relu(a)
    [second] b = Conv<pads=[1,1,1,1]>(r, w2)
    [third] c = Conv<pads=[1,1,1,1]>(b, w3)
    [add] s = Add(c, r)
    [relu2] t = Relu(s)
    [pool] g = GlobalAveragePool(t)
    [flat] f = Flatten(g)
    [head] logits = Gemm<transB=1>(f, fw, fb)
}"""


def net(text: str = NET, **changed: np.ndarray) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = {"w1": rng.normal(size=(6, 3, 3, 3)) / 5, "b1": rng.normal(size=6) / 5}
    weights |= {name: rng.normal(size=(6, 6, 3, 3)) / 7 for name in ("w2", "w3")}
    weights |= {"fw": rng.normal(size=(5, 6)), "fb": rng.normal(size=5), **changed}
    model = parser.parse_model(text)
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items() if name in read
    )
    return prepare(model).model


def altered(name: str, channel: int, value: float) -> np.ndarray:
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in net().graph.initializer}[name].copy()
    stored[channel] = value
    return stored


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.uniform(-1, 1, (16, 3, 8, 8)).astype(np.float32)


@pytest.fixture(params=list(PROFILES))
def profile(request) -> str:
    return request.param


@pytest.fixture(params=sorted(METHODS))
def build(request, profile):
    """Calibrate, quantize and, for signed activations, lower, as a build does."""

    def run(model: onnx.ModelProto, calibration: np.ndarray) -> onnx.ModelProto:
        found = calibrate(model, lambda: [calibration], methods=[request.param], threads=1)[request.param]
        table = RangeTable(
            method=request.param,
            images=len(calibration),
            model_sha256="",
            data_sha256="",
            preset="",
            ranges=found,
        )
        return lower(quantize(model, table, profile=profile)).model

    return run


def answers(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def error(quantized: onnx.ModelProto, model: onnx.ModelProto, images: np.ndarray) -> float:
    """Largest difference of a logit, over the spread of the float model's logits."""
    expected, found = answers(model, images), answers(quantized, images)
    assert np.isfinite(found).all()
    return float(np.abs(found - expected).max() / expected.std())


def scales(quantized: onnx.ModelProto) -> np.ndarray:
    named = {tensor.name: tensor for tensor in quantized.graph.initializer}
    places = {node.input[1] for node in quantized.graph.node if node.op_type.endswith("quantizeLinear")}
    places |= {node.input[1] for node in quantized.graph.node if node.op_type == "QuantizeLinear"}
    return np.concatenate([numpy_helper.to_array(named[name]).reshape(-1) for name in sorted(places & set(named))])


def test_one_image_is_enough_for_answers_near_its_own(build, images):
    model = net()

    assert error(build(model, images[:1]), model, images[:1]) < 0.1


@pytest.mark.parametrize("level", [0.0, -1.0], ids=["zero", "black"])
def test_images_of_one_flat_colour_are_refused(level, images):
    with pytest.raises(InputError, match="flat colour"):
        calibrate(net(), lambda: [np.full_like(images, level)], methods=["minmax"])


def test_a_nan_in_an_activation_is_refused_by_tensor_and_image(build, images):
    with pytest.raises(InputError, match="not finite for calibration image 0"):
        build(net(b1=altered("b1", 0, np.nan)), images)


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-42], ids=["zero", "tiny", "subnormal"])
def test_a_dead_channel_keeps_scales_positive_and_answers_close(build, images, value):
    model = net(w1=altered("w1", 2, value), b1=altered("b1", 2, 0))
    quantized = build(model, images)

    assert error(quantized, model, images) < 0.1
    assert np.isfinite(scales(quantized)).all()
    assert (scales(quantized) > 0).all()


def test_a_channel_that_is_only_its_bias_is_kept(build, images):
    model = net(w1=altered("w1", 2, 0), b1=altered("b1", 2, 3))

    assert error(build(model, images), model, images) < 0.1


def test_a_tensor_that_never_fires_stays_silent(build, images):
    model = net(b1=np.full(6, -100.0))
    quantized = build(model, images)

    found = answers(quantized, images)
    assert (found == found[0]).all()
    assert np.abs(found - answers(model, images)).max() < 0.05
    assert (scales(quantized) > 0).all()


def test_weights_of_zero_leave_the_rest_as_it_was(build, images):
    model = net(w2=np.zeros((6, 6, 3, 3)))
    quantized = build(model, images)

    assert error(quantized, model, images) < 0.1
    assert (scales(quantized) > 0).all()


def test_shared_weights_are_stored_once_and_serve_both_layers(build, images):
    model = net(NET.replace("Conv<pads=[1,1,1,1]>(b, w3)", "Conv<pads=[1,1,1,1]>(b, w2)"))
    quantized = build(model, images)

    stored = [tensor for tensor in quantized.graph.initializer if list(tensor.dims) == [6, 6, 3, 3]]
    assert [tensor.data_type for tensor in stored] == [onnx.TensorProto.INT8]
    assert error(quantized, model, images) < 0.1


def test_ranges_of_no_width_give_a_model_that_runs(profile, images):
    model = net()
    found = calibrate(model, lambda: [images], methods=["minmax"])["minmax"]
    table = RangeTable(
        method="minmax",
        images=16,
        model_sha256="",
        data_sha256="",
        preset="",
        ranges=dict.fromkeys(found, (0.0, 0.0)),
    )

    quantized = lower(quantize(model, table, profile=profile)).model

    assert np.isfinite(answers(quantized, images)).all()
    assert np.isfinite(scales(quantized)).all()
    assert (scales(quantized) > 0).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255)], ids=["black", "white"])
def test_the_command_refuses_flat_images_and_writes_nothing(refused, tmp_path, colour):
    folder = flat_images(tmp_path / "calib", colour)
    path = tmp_path / "model.onnx"
    onnx.save(net(), path)

    sentence = refused("build", path, "--calib", folder, "-o", tmp_path / "out")

    assert "flat colour" in sentence
    assert not list((tmp_path / "out").glob("*"))


def flat_images(folder: Path, colour: tuple[int, int, int]) -> Path:
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (12, 12), colour).save(folder / f"{number}.png")
    return folder
