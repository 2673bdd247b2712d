import gc

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from robustmq_trt.calib.graph import activation_tensors
from robustmq_trt.calib.probe import Probe, open_model
from robustmq_trt.calib.weightless import large_weights, without_weights


@pytest.fixture
def heavy_model(rng) -> onnx.ModelProto:
    """One large matrix as bytes, one as a list of floats, a small bias and the shape that a Reshape reads."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,40] x) => (float[N,4,10] y) {
          a = MatMul (x, bytes)
          b = Add (a, bias)
          c = MatMul (b, floats)
          y = Reshape (c, shape)
        }""")
    square = rng.normal(size=(40, 40)).astype(np.float32)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(square, "bytes"),
            helper.make_tensor("floats", onnx.TensorProto.FLOAT, square.shape, square.T.ravel()),
            numpy_helper.from_array(np.ones(40, np.float32), "bias"),
            numpy_helper.from_array(np.array([-1, 4, 10]), "shape"),
        ]
    )
    return model


def test_only_large_weights_are_taken_out(heavy_model):
    before = heavy_model.SerializeToString()

    light = without_weights(heavy_model)

    assert heavy_model.SerializeToString() == before
    assert list(large_weights(heavy_model)) == ["bytes", "floats"]
    assert large_weights(light) == {}
    assert light.ByteSize() < 1500 < 2 * 4 * 40 * 40 < len(before)


def test_shape_inference_answers_as_with_the_weights(heavy_model):
    light, heavy = map(onnx.shape_inference.infer_shapes, (without_weights(heavy_model), heavy_model))

    assert len(heavy.graph.value_info) == 3
    assert list(light.graph.value_info) == list(heavy.graph.value_info)


def test_activations_are_those_of_a_session_with_the_weights_inside(heavy_model, rng):
    x = rng.normal(size=(1, 40)).astype(np.float32)
    whole = onnx.shape_inference.infer_shapes(heavy_model)
    whole.graph.output.extend(whole.graph.value_info)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = dict(zip(["y", "a", "b", "c"], session.run(None, {"x": x}), strict=True))

    tensors = activation_tensors(heavy_model)
    probe = Probe(open_model(heavy_model, tensors), tensors)
    del heavy_model, whole
    gc.collect()
    seen = [dict(probe.activations(x)) for _ in range(2)]

    for activations in seen:
        assert list(activations) == ["x", "a", "b", "c", "y"]
        assert all(np.array_equal(activations[name], expected[name]) for name in expected)
