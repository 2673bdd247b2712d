from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.export.equality import prove_equal
from robustmq_trt.export.lower import lower
from robustmq_trt.export.onnx_file import check_model, write_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantizable_tensors, quantize
from robustmq_trt.export.widen_channels import widen_channels

NET = """
net (float[N,3,8,8] image) => (float[N,5] logits) {
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(image, w)
    r = Relu(a)
    d = Conv<pads=[1,1,1,1], group=7>(r, dw)
    p = Conv<strides=[2,2]>(image, pw)
    s = Conv<pads=[1,1,1,1]>(p, sw)
    j = Add(d, s)
    g = GlobalAveragePool(j)
    f = Flatten(g)
    logits = Gemm<transB=1>(f, fw)
}"""
SHAPES = {"w": (7, 3, 3, 3), "dw": (7, 1, 3, 3), "pw": (6, 3, 1, 1), "sw": (7, 6, 3, 3), "fw": (5, 7)}


@pytest.fixture
def net(make_model: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """Give a net that reads its image by a 3x3 and by a 1x1 convolution, with a depthwise one and one of 6 channels."""
    rng = np.random.default_rng(1)
    own = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    return prepare(make_model(NET, own)).model


def quantized(model: onnx.ModelProto, profile: str = "cpu-u8", **options: tuple[str, ...]) -> onnx.ModelProto:
    """Quantize with lopsided ranges, so that zero points are neither 0 nor the middle."""
    names = quantizable_tensors(model, profile=profile)
    ranges = dict.fromkeys(names, (-2.0, 3.0))
    table = RangeTable(
        method="minmax", images=1, model_sha256="0" * 64, data_sha256="1" * 64, preset="x", ranges=ranges
    )
    return quantize(model, table, profile=profile, **options)


def convolutions(model: onnx.ModelProto) -> dict[str, int]:
    """Give the input channels that each convolution's weights have, by the name of its output."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    writers = {node.output[0]: node for node in model.graph.node}
    return {
        node.output[0]: stored[writers[node.input[1]].input[0]].shape[1]
        for node in model.graph.node
        if node.op_type == "Conv"
    }


@pytest.mark.parametrize("profile", ["cpu-u8", "trt-s8"])
def test_the_widened_model_computes_the_same_numbers(profile, net, images):
    original = quantized(net, profile)

    widened = widen_channels(lower(original).model)

    check_model(widened)
    assert prove_equal(original, widened, 4 * images(net, 6)) == 0.0
    assert sorted(convolutions(original).values()) == [1, 3, 3, 6]
    assert sorted(convolutions(widened).values()) == [1, 3, 4, 6]


def test_the_integer_kernels_give_the_same_bits(net, images, tmp_path):
    original = quantized(net)
    batch = 4 * images(net, 6)
    scores = []
    for name, model in (("original", original), ("widened", widen_channels(original))):
        write_model(model, tmp_path / f"{name}.onnx")
        engine = OnnxRuntimeEngine.open(tmp_path / f"{name}.onnx", threads=1)
        scores.append(engine.infer(batch))
        assert engine.audit().integer_coverage == 1.0
        engine.close()

    np.testing.assert_array_equal(*scores)
    assert np.unique(scores[0], axis=0).shape[0] > 1


def test_only_a_dense_spatial_convolution_that_lacks_one_channel_is_widened(net):
    original = quantized(net)
    widened = widen_channels(original)

    changed = {name for name, count in convolutions(widened).items() if count != convolutions(original)[name]}

    assert len(changed) == 1
    (pad,) = (node for node in widened.graph.node if node.op_type == "Pad")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in widened.graph.initializer}
    assert stored[pad.input[1]].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]


def test_a_convolution_kept_in_float_is_left_alone(net):
    name = next(node.name for node in net.graph.node if node.op_type == "Conv" and node.input[1] == "w")
    original = quantized(net, keep_float=(name,))

    assert widen_channels(original) == original


def test_widening_twice_changes_nothing_more(net):
    once = widen_channels(quantized(net))

    assert widen_channels(once) == once


def test_the_model_given_is_not_changed(net):
    original = quantized(net)
    before = original.SerializeToString()

    widen_channels(original)

    assert original.SerializeToString() == before
