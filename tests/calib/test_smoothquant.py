from collections.abc import Iterable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from robustmq_trt.calib.channels import channel_ranges
from robustmq_trt.calib.smoothquant import smooth, smoothing_factors
from robustmq_trt.core.errors import InputError

NET = """<ir_version: 8, opset_import: ["" : 17]> net (float[N,4,6] x) => (float[N,4,5] y)
    <float[6] g, float[6] b, float[6,5] w1, float[6,7] w2, float[7,5] w3, float[5] c> {
    n = LayerNormalization(x, g, b) p = MatMul(n, w1) q = MatMul(n, w2)
    r = MatMul(q, w3) s = Add(p, r) y = Add(s, c) }"""


def filled(text: str, rng: np.random.Generator) -> onnx.ModelProto:
    model = parser.parse_model(text)
    for value in model.graph.value_info:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        array = rng.normal(size=shape)
        if value.name == "g":
            array *= [1, 30, 1, 0.1, 1, 5]  # the outlier channels that SmoothQuant is for
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), value.name))
    del model.graph.value_info[:]
    return model


@pytest.fixture
def model(rng: np.random.Generator) -> onnx.ModelProto:
    return filled(NET, rng)


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(9, 4, 6)).astype(np.float32)


def in_batches(images: np.ndarray, *sizes: int) -> Iterable[np.ndarray]:
    return np.split(images, np.cumsum(sizes)[:-1])


def value(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)


def normalised(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    centred = images - images.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-5)
    return np.asarray(centred / deviation * value(model, "g") + value(model, "b"))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_outputs_do_not_change(model: onnx.ModelProto, images: np.ndarray, alpha: float) -> None:
    made = smooth(model, lambda: in_batches(images, 9), alpha=alpha).model

    before, after = (ReferenceEvaluator(net).run(None, {"x": images})[0] for net in (model, made))

    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()


def test_factors_are_equation_4_over_all_products_that_read_the_activation(
    model: onnx.ModelProto, images: np.ndarray
) -> None:
    (pair,) = smooth(model, lambda: in_batches(images, 5, 4), alpha=0.5).pairs

    x = np.abs(normalised(model, images)).max(axis=(0, 1))
    w = np.maximum(np.abs(value(model, "w1")).max(axis=1), np.abs(value(model, "w2")).max(axis=1))
    np.testing.assert_allclose(pair.factors, np.sqrt(x / w), rtol=1e-5)
    assert (pair.tensor, pair.weights) == ("n", ("w1", "w2"))


def test_alpha_1_gives_every_channel_the_same_range(model: onnx.ModelProto, images: np.ndarray) -> None:
    made = smooth(model, lambda: in_batches(images, 9), alpha=1.0)

    found = channel_ranges(made.model, in_batches(images, 9), ["n"])["n"].magnitude

    np.testing.assert_allclose(found, 1, rtol=1e-5)
    assert made.pairs[0].before > 3
    assert made.pairs[0].after == pytest.approx(1)


def test_rounding_the_activation_to_a_grid_costs_less_afterwards(model: onnx.ModelProto, images: np.ndarray) -> None:
    def error(net: onnx.ModelProto) -> float:
        n = normalised(net, images)
        step = np.abs(n).max() / 127
        exact = n @ value(net, "w1")
        return float(np.square(np.rint(n / step) * step @ value(net, "w1") - exact).mean())

    assert error(smooth(model, lambda: in_batches(images, 9)).model) < 0.5 * error(model)


def test_a_dead_channel_keeps_its_range() -> None:
    factors = smoothing_factors(np.array([0.0, 4.0, 1.0]), np.array([1.0, 1.0, 0.0]), alpha=0.5)

    assert factors.tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    "body",
    [
        "n = LayerNormalization(x, g) p = MatMul(n, w) y = Add(p, n)",  # read by something else too
        "n = LayerNormalization(x, g) t = Transpose<perm=[0, 2, 1]>(n) y = MatMul(n, t)",  # no constant weight
        "c = Neg(g) n = LayerNormalization(x, g, c) y = MatMul(n, w)",  # its bias is computed
        "n = Relu(x) y = MatMul(n, w)",
    ],
)
def test_a_layer_that_cannot_be_smoothed_is_left_alone(body: str, images: np.ndarray, rng: np.random.Generator) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]> net (float[N,4,6] x) => (float[N,4,M] y)
        <float[6] g, float[6,6] w> {{ {body} }}"""
    model = filled(text, rng)

    made = smooth(model, lambda: in_batches(images, 9))

    assert made.pairs == ()
    assert list(made.model.graph.node) == list(model.graph.node)


def test_weights_and_scales_that_others_read_are_copied(images: np.ndarray, rng: np.random.Generator) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[N,4,6] x) => (float[N,4,6] y)
        <float[6] g, float[6,6] w> {
        n = LayerNormalization(x, g) p = MatMul(n, w) m = LayerNormalization(p, g) q = MatMul(m, w)
        r = MatMul(x, w) y = Add(q, r) }"""
    model = filled(text, rng)

    made = smooth(model, lambda: in_batches(images, 9))

    before, after = (ReferenceEvaluator(net).run(None, {"x": images})[0] for net in (model, made.model))
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()
    assert len(made.pairs) == 2
    np.testing.assert_array_equal(value(made.model, "w"), value(model, "w"))


def test_the_model_handed_in_is_not_changed(model: onnx.ModelProto, images: np.ndarray) -> None:
    before = model.SerializeToString(deterministic=True)

    smooth(model, lambda: in_batches(images, 9))

    assert model.SerializeToString(deterministic=True) == before


def test_no_image_an_infinite_one_and_a_wrong_alpha_are_refused(model: onnx.ModelProto, images: np.ndarray) -> None:
    with pytest.raises(InputError, match="got none"):
        smooth(model, lambda: [])
    with pytest.raises(InputError, match="not finite"):
        smooth(model, lambda: [np.full_like(images, np.inf)])
    with pytest.raises(InputError, match="`alpha`"):
        smooth(model, lambda: [images], alpha=1.5)
