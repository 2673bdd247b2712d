"""16-bit activations and FP8 against ONNX's reference and rounding by hand."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.export.lint import lint
from robustmq_trt.export.qdq import quantizable_tensors, quantize
from robustmq_trt.export.wide import WIDE, quantize_wide

NET = """
net (float[N,3,8,8] image) => (float[N,5] logits) {
    [a] a = Conv<pads=[1,1,1,1]>(image, wa, ba)
    [ra] ra = Relu(a)
    [b] b = Conv<pads=[1,1,1,1]>(ra, wb)
    [sum] s = Add(b, ra)
    [g] g = GlobalAveragePool(s)
    [f] f = Flatten(g)
    [head] logits = Gemm<transB=1>(f, fw, fb)
}"""
MOST = 16.0


@pytest.fixture
def net(make_model) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    shapes = {"wa": (6, 3, 3, 3), "ba": 6, "wb": (6, 6, 3, 3), "fw": (5, 6), "fb": 5}
    return make_model(NET, {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()})


@pytest.fixture
def ranges(net) -> RangeTable:
    found = dict.fromkeys(quantizable_tensors(net, profile="trt-s8"), (-MOST, MOST))
    return RangeTable(method="minmax", images=1, model_sha256="", data_sha256="", preset="", ranges=found)


def run(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    (scores,) = ReferenceEvaluator(model).run(None, {"image": batch})
    return scores


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def simulated(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (scores,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"image": batch})
    return np.asarray(scores)


@pytest.mark.parametrize(("precision", "kind"), [("w8a16", TensorProto.INT16), ("fp8", TensorProto.FLOAT8E4M3FN)])
def test_every_activation_has_the_format_and_the_scale_of_its_range(net, ranges, precision: str, kind: int):
    wide = quantize_wide(net, ranges, precision=precision)

    held, types = constants(wide), {tensor.name: tensor.data_type for tensor in wide.graph.initializer}
    quantizes = [node for node in wide.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantizes) == sum(
        node.op_type == "QuantizeLinear" for node in quantize(net, ranges, profile="trt-s8").graph.node
    )
    assert {types[node.input[2]] for node in quantizes} == {kind}
    assert all(held[node.input[2]] == 0 for node in quantizes)
    np.testing.assert_allclose([held[node.input[1]] for node in quantizes], MOST / WIDE[precision].top, rtol=1e-6)


def test_int16_scales_are_those_of_onnx_runtimes_own_quantizer(net, ranges):
    from onnxruntime.quantization import quant_utils

    ends = (np.array(end, np.float32) for end in (-MOST, MOST))
    limits = quant_utils.get_qmin_qmax_for_qType(TensorProto.INT16, symmetric=True)
    zero, scale = quant_utils.compute_scale_zp(*ends, *limits, symmetric=True)

    assert zero == 0
    assert constants(quantize_wide(net, ranges, precision="w8a16"))["image_scale"] == pytest.approx(
        float(scale), rel=1e-6
    )


def test_fp8_weights_are_the_float_ones_rounded_once(net, ranges):
    held = constants(quantize_wide(net, ranges, precision="fp8"))

    weight, scale = constants(net)["wb"], held["wb_scale"]
    ratios = np.clip(weight / scale.reshape(-1, 1, 1, 1), -448, 448)
    np.testing.assert_array_equal(held["wb_quantized"], ratios.astype(ml_dtypes.float8_e4m3fn))
    np.testing.assert_allclose(scale, np.abs(weight).max(axis=(1, 2, 3)) / 448, rtol=1e-6)


def test_int16_keeps_the_int8_weights(net, ranges):
    wide, eight = (
        constants(model)
        for model in (quantize_wide(net, ranges, precision="w8a16"), quantize(net, ranges, profile="trt-s8"))
    )

    np.testing.assert_array_equal(wide["wa_quantized"], eight["wa_quantized"])
    np.testing.assert_array_equal(wide["wa_scale"], eight["wa_scale"])


@pytest.mark.parametrize("precision", WIDE)
def test_a_runtime_without_optimizations_agrees_with_the_reference(net, ranges, images, precision: str):
    wide, batch = quantize_wide(net, ranges, precision=precision), images(net, 16)

    np.testing.assert_allclose(simulated(wide, batch), run(wide, batch), rtol=0, atol=2e-3)


def test_16_bits_of_activations_are_finer_than_8(net, ranges, images):
    batch, wide = images(net, 32), quantize_wide(net, ranges, precision="w8a16")
    held, weights_alone = constants(wide), onnx.ModelProto()
    weights_alone.CopyFrom(net)
    for tensor in weights_alone.graph.initializer:
        if f"{tensor.name}_quantized" in held:
            codes, scale = held[f"{tensor.name}_quantized"], held[f"{tensor.name}_scale"]
            values = codes * scale.reshape(-1, *[1] * (codes.ndim - 1))
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))

    exact = run(weights_alone, batch)
    error_8, error_16 = (
        np.abs(simulated(model, batch) - exact).max() for model in (quantize(net, ranges, profile="trt-s8"), wide)
    )

    assert error_8 > 50 * error_16


def test_fp8_is_near_the_float_network(net, ranges, images):
    batch = images(net, 32)
    scores = run(quantize_wide(net, ranges, precision="fp8"), batch)

    # Three bits of mantissa: each value is off by at most 1/16 of itself.
    np.testing.assert_allclose(scores, run(net, batch), rtol=0, atol=np.abs(run(net, batch)).max() / 8)


def test_the_linter_takes_fp8_and_refuses_int16(net, ranges):
    errors = {
        precision: {
            finding.rule
            for finding in lint(quantize_wide(net, ranges, precision=precision))
            if finding.severity == "error"
        }
        for precision in WIDE
    }

    assert errors == {"w8a16": {"type"}, "fp8": set()}


def test_the_file_says_what_it_is(net, ranges):
    facts = {entry.key: entry.value for entry in quantize_wide(net, ranges, precision="fp8").metadata_props}

    assert (facts["robustmq.precision"], facts["robustmq.profile"]) == ("fp8", "trt-s8-e4m3")
    assert facts["robustmq.calibration"] == "minmax over 1 images"


def test_an_unknown_precision_is_refused(net, ranges):
    with pytest.raises(UnsupportedError, match="w8a16, fp8, got 'w8a8'"):
        quantize_wide(net, ranges, precision="w8a8")


def test_a_missing_range_is_refused(net, ranges):
    with pytest.raises(InputError, match="lacks"):
        quantize_wide(net, RangeTable(**{**vars(ranges), "ranges": {}}), precision="fp8")


def test_a_layer_kept_in_float_keeps_its_weights(net, ranges):
    held = constants(quantize_wide(net, ranges, precision="fp8", keep_float=["b"]))

    np.testing.assert_array_equal(held["wb"], constants(net)["wb"])
    assert "wb_quantized" not in held
    assert "wa_quantized" in held


@pytest.mark.parametrize("precision", WIDE)
def test_a_batch_normalization_that_stayed_alone_is_quantized_too(make_model, images, precision: str):
    vectors = {name: np.full(3, value, np.float32) for name, value in (("g", 2), ("h", 0.5), ("m", 0.25), ("v", 4))}
    alone = make_model(
        """net (float[N,3,8,8] image) => (float[N,3] logits) {
            [r] r = Relu(image)
            [n] n = BatchNormalization(r, g, h, m, v)
            [p] p = GlobalAveragePool(n)
            [f] logits = Flatten(p)
        }""",
        vectors,
    )
    found = dict.fromkeys(quantizable_tensors(alone, profile="trt-s8"), (-8.0, 8.0))
    table = RangeTable(method="minmax", images=1, model_sha256="", data_sha256="", preset="", ranges=found)

    wide = quantize_wide(alone, table, precision=precision)

    assert any(name.endswith("_quantized") for name in constants(wide))
    np.testing.assert_allclose(run(wide, images(alone, 4)), run(alone, images(alone, 4)), atol=0.05)
