"""Equalisation keeps the function and levels the ranges."""

import numpy as np
import onnx.parser
import pytest

from robustmq_trt.calib.equalise import equalise, find_pairs
from robustmq_trt.calib.layers import initializer, set_initializer
from robustmq_trt.calib.prefix import runner
from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare


def test_outputs_stay_and_ranges_become_equal(rng, layered_model):
    images = rng.normal(size=(8, 2, 6, 6)).astype(np.float32)
    result = equalise(layered_model)

    before, after = (runner(model, "logits")(images) for model in (layered_model, result.model))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())
    first, second, third = (np.abs(initializer(result.model, name)) for name in ("w1", "w2", "w3"))
    np.testing.assert_allclose(first.max(axis=(1, 2, 3)), second.max(axis=(1, 2, 3)), rtol=1e-3)
    np.testing.assert_allclose(second.max(axis=(1, 2, 3)), third.max(axis=(0, 2, 3)), rtol=1e-3)
    assert result.pairs == 2
    assert result.skipped == ()


def test_one_pair_gets_the_published_scale(layered_model):
    r1 = np.abs(initializer(layered_model, "w1")).max(axis=(1, 2, 3))
    bias = initializer(layered_model, "b1")
    set_initializer(layered_model, "w3", np.zeros((6, 4, 1, 1), np.float32))  # its own pair cannot be scaled
    r2 = np.abs(initializer(layered_model, "w2")).max(axis=(1, 2, 3))

    result = equalise(layered_model).model

    scale = np.sqrt(r1 * r2) / r2
    np.testing.assert_allclose(initializer(result, "b1"), bias / scale, rtol=1e-5)
    np.testing.assert_allclose(np.abs(initializer(result, "w2")).max(axis=(1, 2, 3)), np.sqrt(r1 * r2), rtol=1e-5)


def test_channels_behind_relu6_are_left_alone_and_named(clipped_model):
    result = equalise(clipped_model)

    assert result.pairs == 0
    assert result.skipped == ("c", "d")
    assert result.model == clipped_model


def test_a_channel_of_zeros_is_left_alone(rng, layered_model):
    weight = initializer(layered_model, "w1").copy()
    weight[1] = 0
    set_initializer(layered_model, "w1", weight)
    images = rng.normal(size=(4, 2, 6, 6)).astype(np.float32)

    result = equalise(layered_model).model

    assert np.isfinite(initializer(result, "w2")).all()
    before, after = (runner(model, "logits")(images) for model in (layered_model, result))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())


def test_an_activation_read_twice_is_not_scaled(layered_model):
    layered_model.graph.output.append(next(iter(layered_model.graph.output)))
    layered_model.graph.output[-1].CopyFrom(layered_model.graph.output[0])
    layered_model.graph.output[-1].name = "h"

    assert [pair.first.output for pair in find_pairs(layered_model)] == ["d"]


def test_convolutions_that_read_one_tensor_each_begin_a_pair(rng):
    """A residual block's first convolution and its shortcut read the same activation."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,2,6,6] x) => (float[N,3,6,6] y) {
          c = Conv <pads = [1, 1, 1, 1]> (x, w1)
          r = Relu (c)
          d = Conv (r, w2)
          s = Conv (x, w3)
          y = Add (d, s)
        }""")
    for name, shape in {"w1": (4, 2, 3, 3), "w2": (3, 4, 1, 1), "w3": (3, 2, 1, 1)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))

    assert [(pair.first.output, pair.second.output) for pair in find_pairs(model)] == [("c", "d")]


@pytest.mark.realdata
def test_real_resnet_keeps_its_answers(rng, realdata):
    model = prepare(read_model(realdata / "models" / "resnet20_cifar10_float.onnx")).model
    images = rng.normal(size=(16, 3, 32, 32)).astype(np.float32)

    result = equalise(model)

    output = model.graph.output[0].name
    before, after = (runner(graph, output)(images) for graph in (model, result.model))
    assert np.abs(after - before).max() < 1e-4 * np.abs(before).max()
    assert result.pairs == 9
