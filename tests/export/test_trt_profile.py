from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.export.onnx_file import opset
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantizable_tensors, quantize
from robustmq_trt.export.weight_forms import store_weights
from robustmq_trt.export.wiring import Wiring

NET = """
net (float[N,3,8,8] image) => (float[N,5] logits) {
    a = Conv<pads=[1,1,1,1]>(image, w, b)
    r = Relu(a)
    c = Conv<pads=[1,1,1,1]>(r, v)
    s = Add(c, r)
    t = Relu(s)
    g = GlobalAveragePool(t)
    f = Flatten(g)
    logits = Gemm<transB=1>(f, fw, fb)
}"""


def table(ranges: dict[str, tuple[float, float]]) -> RangeTable:
    return RangeTable(
        method="min-max", images=1, model_sha256="0" * 64, data_sha256="1" * 64, preset="x", ranges=ranges
    )


@pytest.fixture
def model(make_model: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    rng = np.random.default_rng(2)
    shapes = {"w": (6, 3, 3, 3), "b": (6,), "v": (6, 6, 3, 3), "fw": (5, 6), "fb": (5,)}
    own = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    own["w"][0] = 0.0  # a dead filter has a scale too
    return prepare(make_model(NET, own)).model


@pytest.fixture
def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    names = quantizable_tensors(model, profile="trt-s8")
    return quantize(model, table(dict.fromkeys(names, (-1.0, 2.54))), profile="trt-s8")


def test_the_scale_is_the_larger_bound_over_127_and_the_zero_point_0(model):
    names = quantizable_tensors(model, profile="trt-s8")
    ranges = dict.fromkeys(names, (-1.0, 2.54)) | {"image": (-5.08, 1.0)}

    wiring = Wiring.of(quantize(model, table(ranges), profile="trt-s8").graph)

    assert wiring.constant("image_scale") == pytest.approx(5.08 / 127)
    assert wiring.constant("r_scale") == pytest.approx(2.54 / 127)
    zeros = [value for name in wiring.stored if name.endswith("_zero_point") and (value := wiring.constant(name)).any()]
    assert zeros == []


def test_activations_and_weights_are_int8_and_biases_float(quantized, model):
    wiring = Wiring.of(quantized.graph)

    for node in quantized.graph.node:
        if node.op_type == "QuantizeLinear":
            assert wiring.constant(node.input[2]).dtype == np.int8
            assert wiring.constant(node.input[1]).shape == ()
        if node.op_type in ("Conv", "Gemm"):
            codes = wiring.constant(wiring.producer(node.input[1], "DequantizeLinear").input[0])
            assert codes.dtype == np.int8
            assert codes.min() >= -127
    for name in ("b", "fb"):
        np.testing.assert_array_equal(wiring.constant(name), Wiring.of(model.graph).constant(name))


def test_nothing_stands_between_an_operator_and_its_relu(quantized):
    wiring = Wiring.of(quantized.graph)

    before = [wiring.producer(node.input[0]).op_type for node in quantized.graph.node if node.op_type == "Relu"]

    assert before == ["Conv", "Add"]


def test_both_inputs_of_the_residual_add_are_quantized(quantized):
    wiring = Wiring.of(quantized.graph)
    (add,) = (node for node in quantized.graph.node if node.op_type == "Add")

    assert [wiring.producer(name).op_type for name in add.input] == ["DequantizeLinear", "DequantizeLinear"]


def test_every_q_is_read_by_a_dq_and_every_dq_by_something(quantized):
    wiring = Wiring.of(quantized.graph)

    for node in quantized.graph.node:
        if node.op_type == "QuantizeLinear":
            assert wiring.only_read_by(node.output[0], "DequantizeLinear")
        if node.op_type == "DequantizeLinear":
            assert wiring.readers_of(node.output[0]) or node.output[0] in wiring.outputs


def test_what_a_fused_relu_reads_needs_no_range(model):
    assert quantizable_tensors(model, profile="trt-s8") == ("image", "r", "c", "t", "g", "logits")


def test_the_batch_stays_dynamic_and_the_opset_is_at_least_17(make_net, model, quantized):
    old = prepare(make_net("conv_bn")).model
    old.opset_import[0].version = 13
    ranges = table(dict.fromkeys(quantizable_tensors(old, profile="trt-s8"), (-1.0, 1.0)))

    assert opset(quantize(old, ranges, profile="trt-s8")) == 17
    assert opset(quantized) == opset(model)
    assert quantized.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_float_weights_compute_the_same_to_the_last_bit(quantized, images, run_ort, run_reference):
    pairs = store_weights(quantized, "float")
    batch = images(quantized, 4)

    assert len(pairs.SerializeToString()) > len(quantized.SerializeToString())
    np.testing.assert_array_equal(run_ort(pairs, batch), run_ort(quantized, batch))
    quantized.opset_import[0].version = pairs.opset_import[0].version = 19
    np.testing.assert_array_equal(run_reference(pairs, batch), run_reference(quantized, batch))


def test_float_weights_go_back_to_the_same_codes(quantized):
    back = store_weights(store_weights(quantized, "float"), "int8")

    first, second = Wiring.of(quantized.graph), Wiring.of(back.graph)
    for node, again in zip(quantized.graph.node, back.graph.node, strict=True):
        if node.op_type == "DequantizeLinear" and node.input[0] in first.stored:
            np.testing.assert_array_equal(second.constant(again.input[0]), first.constant(node.input[0]))


def test_the_form_of_the_weights_is_an_option_of_quantize(model):
    ranges = table(dict.fromkeys(quantizable_tensors(model, profile="trt-s8"), (-1.0, 1.0)))

    pairs = quantize(model, ranges, profile="trt-s8", weights_as="float")

    assert all(tensor.data_type != onnx.TensorProto.INT8 or not tensor.dims[1:] for tensor in pairs.graph.initializer)
    assert any(numpy_helper.to_array(tensor).ndim == 4 for tensor in pairs.graph.initializer)
    with pytest.raises(InputError, match="Unknown weight form 'int9'"):
        quantize(model, ranges, weights_as="int9")
