from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.core.precision import Precision
from robustmq_trt.export.block_codes import block_codes
from robustmq_trt.export.int4_blocks import quantize_blocks


@pytest.fixture
def model(rng: np.random.Generator) -> onnx.ModelProto:
    """48 -> 64 -> 32 -> 10; with blocks of 32, the second and third layer can be stored."""
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[N,3,4,4] x) => (float[N,10] y)
        <float[48,64] w1, float[32,64] w3, float[32] b3, float[32,10] w4, float[10] b4> {
        f = Flatten(x) h = MatMul(f, w1) a = Relu(h) g = Gemm<transB=1>(a, w3, b3) y = Gemm(g, w4, b4) }"""
    parsed = parser.parse_model(text)
    for value in parsed.graph.value_info:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        array = rng.normal(scale=shape[0] ** -0.5, size=shape).astype(np.float32)
        parsed.graph.initializer.append(numpy_helper.from_array(array, value.name))
    del parsed.graph.value_info[:]
    return parsed


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(5, 3, 4, 4)).astype(np.float32)


def stored(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)


def run(model: onnx.ModelProto, x: np.ndarray, *, simulate: bool = True) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if simulate else levels.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def expected(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The network by hand, with the rounded weights of what blocks of 32 divide."""
    w3, w4 = (block_codes(w, block=32).values() for w in (stored(model, "w3").T, stored(model, "w4")))
    hidden = np.maximum(x.reshape(5, -1) @ stored(model, "w1"), 0) @ w3 + stored(model, "b3")
    return np.asarray(hidden @ w4 + stored(model, "b4"))


@pytest.mark.parametrize("style", ["matmulnbits", "qdq"])
def test_the_file_computes_with_the_rounded_weights(model: onnx.ModelProto, x: np.ndarray, style: str) -> None:
    found = run(quantize_blocks(model, block=32, style=style), x)

    np.testing.assert_allclose(found, expected(model, x), rtol=1e-5, atol=1e-5)


def test_the_qdq_file_is_what_the_onnx_standard_computes(model: onnx.ModelProto, x: np.ndarray) -> None:
    found = ReferenceEvaluator(quantize_blocks(model, block=32, style="qdq")).run(None, {"x": x})[0]

    np.testing.assert_allclose(found, expected(model, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
def test_both_styles_hold_the_same_weights_to_the_last_bit(model: onnx.ModelProto, bits: int) -> None:
    nbits, qdq = (quantize_blocks(model, block=32, bits=bits, style=style) for style in ("matmulnbits", "qdq"))

    for name, key in (("w3", "w3^T"), ("w4", "w4")):
        packed = stored(nbits, f"{key}_w{bits}")
        halves = np.stack([packed & 15, packed >> 4], axis=-1) if bits == 4 else packed
        codes = halves.reshape(len(packed), -1).T.astype(np.int16) - 2 ** (bits - 1)
        np.testing.assert_array_equal(stored(qdq, f"{key}_w{bits}").astype(np.int16), codes, err_msg=name)
        np.testing.assert_array_equal(stored(qdq, f"{key}_scales").T, stored(nbits, f"{key}_scales"))


def test_both_styles_compute_the_same_in_simulation(model: onnx.ModelProto, x: np.ndarray) -> None:
    nbits, qdq = (run(quantize_blocks(model, block=32, style=style), x) for style in ("matmulnbits", "qdq"))

    np.testing.assert_allclose(nbits, qdq, rtol=0, atol=1e-6)


def test_accuracy_level_4_is_near_the_float_product_but_not_it(model: onnx.ModelProto, x: np.ndarray) -> None:
    rounded = run(quantize_blocks(model, block=32, accuracy_level=4), x, simulate=False)

    np.testing.assert_allclose(rounded, expected(model, x), atol=0.05 * np.abs(expected(model, x)).max())


def test_a_layer_whose_length_the_block_does_not_divide_stays_in_float(model: onnx.ModelProto) -> None:
    made = quantize_blocks(model, block=32)

    assert Counter(node.op_type for node in made.graph.node) >= Counter({"MatMulNBits": 2, "MatMul": 1, "Add": 2})
    assert "w1" in {tensor.name for tensor in made.graph.initializer}
    assert not {"w3", "w4"} & {tensor.name for tensor in made.graph.initializer}


def test_a_named_layer_stays_in_float(model: onnx.ModelProto) -> None:
    for index, node in enumerate(model.graph.node):
        node.name = f"n{index}"

    kept = quantize_blocks(model, block=32, keep_float=["n3"])

    assert [node.op_type for node in kept.graph.node] == ["Flatten", "MatMul", "Relu", "Gemm", "MatMulNBits", "Add"]
    with pytest.raises(InputError, match="n3"):
        quantize_blocks(model, block=32, keep_float=["n33"])


def test_layers_that_share_a_weight_share_its_codes(rng: np.random.Generator) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[N,32] x) => (float[N,32] y) <float[32,32] w> {
        a = MatMul(x, w) y = MatMul(a, w) }"""
    parsed = parser.parse_model(text)
    del parsed.graph.value_info[:]
    parsed.graph.initializer.append(numpy_helper.from_array(rng.normal(size=(32, 32)).astype(np.float32), "w"))

    made = quantize_blocks(parsed, block=32, style="qdq")

    assert sorted(tensor.name for tensor in made.graph.initializer) == ["w_scales", "w_w4"]


@pytest.mark.parametrize(
    ("style", "level", "profile", "precision"),
    [
        ("matmulnbits", 0, "w4-blocks-nbits", "w4a16-b32"),
        ("matmulnbits", 4, "w4-blocks-nbits", "w4a8-b32"),
        ("qdq", 0, "w4-blocks-qdq", "w4a16-b32"),
    ],
)
def test_the_file_says_what_it_is(model: onnx.ModelProto, style: str, level: int, profile: str, precision: str) -> None:
    made = quantize_blocks(model, block=32, style=style, accuracy_level=level)

    facts = {entry.key: entry.value for entry in made.metadata_props}
    assert (facts["robustmq.profile"], facts["robustmq.precision"]) == (profile, precision)
    assert str(Precision.parse(precision)) == precision


def test_the_model_handed_in_is_not_changed(model: onnx.ModelProto) -> None:
    before = model.SerializeToString(deterministic=True)

    quantize_blocks(model, block=32, style="qdq")

    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"block": 48}, "`block`"),
        ({"bits": 3}, "`bits`"),
        ({"style": "awq"}, "`style`"),
        ({"accuracy_level": 2}, "`accuracy_level`"),
        ({"style": "qdq", "accuracy_level": 4}, "`accuracy_level`"),
    ],
)
def test_settings_that_do_not_exist_are_refused(model: onnx.ModelProto, change: dict[str, object], part: str) -> None:
    with pytest.raises(InputError, match=part):
        quantize_blocks(model, **{"block": 32, **change})  # type: ignore[arg-type]  # wrong on purpose


def test_a_model_without_a_layer_that_fits_is_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(UnsupportedError, match="length 128 divides"):
        quantize_blocks(model, block=128)


def test_the_int4_tensor_is_half_a_byte_per_weight(model: onnx.ModelProto) -> None:
    made = quantize_blocks(model, block=32, style="qdq")

    packed = next(tensor for tensor in made.graph.initializer if tensor.data_type == onnx.TensorProto.INT4)
    assert len(packed.raw_data) * 2 == np.prod(packed.dims)
    assert helper.tensor_dtype_to_np_dtype(packed.data_type).itemsize == 1  # numpy has no halves
