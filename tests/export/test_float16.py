"""Half precision: near the float model, float32 outside, and what cannot be held is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.export.float16 import to_float16


@pytest.fixture
def model(rng) -> onnx.ModelProto:
    parsed = parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        net (float[N,3,8,8] x) => (float[N,5] y) <float zero = {0}, float six = {6}, int64[2] shape = {0, -1}> {
          c = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
          r = Clip (c, zero, six)
          p = GlobalAveragePool (r)
          f = Reshape (p, shape)
          s = Softmax (f)
          y = Gemm <transB = 1> (s, w2, b2)
        }""")
    values = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (5, 4), "b2": (5,)}
    parsed.graph.initializer.extend(
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name) for name, shape in values.items()
    )
    for index, node in enumerate(parsed.graph.node):
        node.name = f"n{index}"
    return parsed


def answers(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


def test_the_answers_stay_within_half_precision(model, rng):
    x = rng.normal(size=(3, 3, 8, 8)).astype(np.float32)

    half = answers(to_float16(model), x)

    assert half.dtype == np.float32
    # 27 products and a dozen roundings of 2**-11 each, on values up to 6
    np.testing.assert_allclose(half, answers(model, x), atol=0.03)
    assert (half != answers(model, x)).any()


def test_every_weight_is_stored_in_half(model):
    half = to_float16(model)

    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert set(types.values()) == {TensorProto.FLOAT16, TensorProto.INT64}
    assert sum(len(t.raw_data) for t in half.graph.initializer) < 0.6 * sum(
        len(t.raw_data) + 4 * len(t.float_data) + 8 * len(t.int64_data) for t in model.graph.initializer
    )


def test_a_named_layer_computes_in_float32(model, rng):
    kept = to_float16(model, keep_float=["n4", "n5"])

    types = {tensor.name: tensor.data_type for tensor in kept.graph.initializer}
    assert (types["w2"], types["w1_half"]) == (TensorProto.FLOAT, TensorProto.FLOAT16)
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(answers(kept, x), answers(model, x), atol=0.03)
    with pytest.raises(InputError, match="n44"):
        to_float16(model, keep_float=["n44"])


def test_onnx_runtime_runs_it(model, rng):
    import onnxruntime

    x = rng.normal(size=(3, 3, 8, 8)).astype(np.float32)

    session = onnxruntime.InferenceSession(to_float16(model).SerializeToString(), providers=["CPUExecutionProvider"])

    np.testing.assert_allclose(session.run(None, {"x": x})[0], answers(model, x), atol=0.03)


def test_a_weight_beyond_its_range_is_refused(model):
    numpy_weight = np.full((5, 4), 1e5, np.float32)
    index = next(i for i, tensor in enumerate(model.graph.initializer) if tensor.name == "w2")
    model.graph.initializer[index].CopyFrom(numpy_helper.from_array(numpy_weight, "w2"))

    with pytest.raises(UnsupportedError, match="'w2' holds 1e\\+05"):
        to_float16(model)
    assert to_float16(model, keep_float=["n5"]).graph.node
