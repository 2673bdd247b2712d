"""Moments of layer inputs against ONNX's own operators and plain loops."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from robustmq_trt.calib.gram import columns, layer_moments
from robustmq_trt.calib.layers import from_rows, initializer, to_rows, weighted_layers
from robustmq_trt.calib.prefix import runner
from robustmq_trt.core.errors import InputError

CONVS = {
    "plain": {"shape": (4, 3, 3, 3)},
    "padded": {"shape": (4, 3, 3, 3), "pads": [1, 1, 1, 1]},
    "pads-and-strides": {"shape": (4, 3, 3, 2), "pads": [0, 1, 2, 1], "strides": [2, 1]},
    "dilated": {"shape": (4, 3, 2, 2), "dilations": [2, 3], "pads": [1, 1, 1, 1]},
    "grouped": {"shape": (6, 2, 3, 3), "group": 3, "pads": [1, 1, 1, 1]},
    "depthwise": {"shape": (5, 1, 3, 3), "group": 5, "strides": [2, 2]},
    "pointwise": {"shape": (4, 3, 1, 1), "strides": [2, 2]},
    "one-axis": {"shape": (4, 3, 3), "pads": [2, 0]},
}


def one_layer(operator: str, weight: np.ndarray, **attributes: object) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x", "w"], ["y"], **attributes)
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", kind, None)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("case", CONVS)
def test_rows_times_columns_are_the_convolution(rng, case):
    attributes = dict(CONVS[case])
    weight = rng.normal(size=attributes.pop("shape")).astype(np.float32)
    model = one_layer("Conv", weight, **attributes)
    x = rng.normal(size=(2, weight.shape[1] * attributes.get("group", 1), 8, 7)[: weight.ndim]).astype(np.float32)
    (layer,) = weighted_layers(model)

    product = to_rows(weight, 0, layer.groups) @ columns(x, layer, weight.shape)

    expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
    flat = np.moveaxis(expected, 0, 1).reshape(len(weight), -1)
    np.testing.assert_allclose(product.reshape(len(weight), -1), flat, atol=1e-4)


@pytest.mark.parametrize(
    ("operator", "shape", "attributes"),
    [("MatMul", (5, 4), {}), ("Gemm", (5, 4), {}), ("Gemm", (4, 5), {"transB": 1})],
    ids=["matmul", "gemm", "gemm-transposed"],
)
def test_rows_times_columns_are_the_matrix_product(rng, operator, shape, attributes):
    weight = rng.normal(size=shape).astype(np.float32)
    model = one_layer(operator, weight, **attributes)
    x = rng.normal(size=(3, 2, 5) if operator == "MatMul" else (6, 5)).astype(np.float32)
    (layer,) = weighted_layers(model)

    product = to_rows(weight, layer.axis, 1) @ columns(x, layer, weight.shape)

    expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(product[0].T, expected.reshape(-1, 4), atol=1e-5)
    np.testing.assert_array_equal(from_rows(to_rows(weight, layer.axis, 1), shape, layer.axis), weight)


def test_moments_are_those_of_every_window_looped_over(rng):
    weight = rng.normal(size=(4, 2, 2, 2)).astype(np.float32)
    model = one_layer("Conv", weight, group=2, pads=[0, 1, 0, 0])
    x, f = rng.normal(size=(2, 3, 4, 4, 3)).astype(np.float32)
    (layer,) = weighted_layers(model)
    images = [np.concatenate([x[i : i + 1], f[i : i + 1]]) for i in range(3)]

    moments = layer_moments(
        layer, weight.shape, images, on_grid=lambda pair: pair[:1], in_float=lambda pair: pair[1:], threads=2
    )

    windows = SimpleNamespace(x=[], f=[])
    for name, images in {"x": x, "f": f}.items():
        padded = np.pad(images.astype(np.float64), [(0, 0), (0, 0), (0, 0), (1, 0)])
        for n, row, column in np.ndindex(3, 3, 3):
            getattr(windows, name).append(padded[n, :, row : row + 2, column : column + 2].reshape(2, 8))
    at, of = np.array(windows.x), np.array(windows.f)
    assert moments.count == 27
    np.testing.assert_allclose(moments.grid_sum, at.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(moments.float_sum, of.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(moments.gram(centred=False), np.einsum("ngi,ngj->gij", at, at) / 27, atol=1e-5)
    np.testing.assert_allclose(moments.cross_gram(centred=False), np.einsum("ngi,ngj->gij", of, at) / 27, atol=1e-5)
    covariance = [np.cov(at[:, group].T, bias=True) for group in range(2)]
    np.testing.assert_allclose(moments.gram(centred=True), covariance, atol=1e-5)


def test_moments_do_not_depend_on_batches_or_threads(rng, layered_model):
    images = rng.normal(size=(12, 2, 6, 6)).astype(np.float32)
    layer = weighted_layers(layered_model)[1]
    shape = initializer(layered_model, layer.weight).shape
    run = runner(layered_model, layer.input)

    alone = layer_moments(layer, shape, np.split(images, 12), on_grid=run)
    threaded = layer_moments(layer, shape, np.split(images, 12), on_grid=run, threads=3)
    batched = layer_moments(layer, shape, np.split(images, 3), on_grid=run)

    np.testing.assert_array_equal(threaded.grid_square, alone.grid_square)
    np.testing.assert_allclose(batched.grid_square, alone.grid_square, rtol=1e-4, atol=1e-6)


def test_memory_does_not_grow_with_the_number_of_images(rng, layered_model):
    handed_out = 0
    waiting = []

    def stream():
        nonlocal handed_out
        for _ in range(40):
            handed_out += 1
            yield rng.normal(size=(1, 2, 6, 6)).astype(np.float32)

    done = 0
    run = runner(layered_model, "h")

    def counted(images):
        nonlocal done
        waiting.append(handed_out - done)
        done += 1
        return run(images)

    layer = weighted_layers(layered_model)[1]
    layer_moments(layer, initializer(layered_model, layer.weight).shape, stream(), on_grid=counted, threads=2)

    assert max(waiting) <= 8


def test_no_image_and_values_that_are_not_finite_are_refused(rng, layered_model):
    layer = weighted_layers(layered_model)[1]
    shape = initializer(layered_model, layer.weight).shape
    run = runner(layered_model, layer.input)

    with pytest.raises(InputError, match="at least one calibration image"):
        layer_moments(layer, shape, [], on_grid=run)
    with pytest.raises(InputError, match="not finite"):
        layer_moments(layer, shape, [np.full((1, 2, 6, 6), np.nan, np.float32)], on_grid=run)
