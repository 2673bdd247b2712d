from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from robustmq_trt.core.errors import UnsupportedError
from robustmq_trt.core.precision import Precision
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.core.recipe import Recipe
from robustmq_trt.export.equality import prove_equal
from robustmq_trt.export.grid import to_grid
from robustmq_trt.export.lower import lower
from robustmq_trt.export.onnx_file import check_model, read_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantizable_tensors, quantize

RESIDUAL = """
net (float[N,3,8,8] image) => (float[N,5] logits) <float lo = {0.0}, float hi = {6.0}> {
    a = Conv<pads=[1,1,1,1]>(image, w)
    r = Clip(a, lo, hi)
    b = Conv<pads=[1,1,1,1]>(r, v, vb)
    s = Add(b, r)
    t = Relu(s)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(t)
    g = GlobalAveragePool(m)
    f = Flatten(g)
    logits = Gemm<transB=1>(f, fw, fb)
}"""


def s8(model: onnx.ModelProto, high: float = 3.0, **options: str) -> onnx.ModelProto:
    """Quantize in the TensorRT profile with the range -2..high everywhere."""
    names = quantizable_tensors(model, profile="trt-s8")
    ranges = RangeTable(
        method="min-max",
        images=1,
        model_sha256="0" * 64,
        data_sha256="1" * 64,
        preset="x",
        ranges=dict.fromkeys(names, (-2.0, high)),
    )
    return quantize(model, ranges, profile="trt-s8", **options)


@pytest.fixture
def residual(make_model: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """Give a small net with a ReLU6, a residual Add, a Relu and a MaxPool."""
    rng = np.random.default_rng(1)
    shapes = {"w": (6, 3, 3, 3), "v": (6, 6, 3, 3), "vb": (6,), "fw": (5, 6), "fb": (5,)}
    own = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return prepare(make_model(RESIDUAL, own)).model


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def types(model: onnx.ModelProto) -> dict[str, Counter[str]]:
    """Count the element types of the zero points of Q nodes and of DQ nodes."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found: dict[str, Counter[str]] = {"QuantizeLinear": Counter(), "DequantizeLinear": Counter()}
    for node in model.graph.node:
        if node.op_type in found:
            found[node.op_type][str(stored[node.input[2]].dtype)] += 1
    return found


@pytest.mark.parametrize("weights_as", ["int8", "float"])
@pytest.mark.parametrize("high", [0.3, 3.0, 20.0])
def test_the_lowered_model_computes_the_same_numbers(high, weights_as, residual, images, run_reference):
    original = s8(residual, high, weights_as=weights_as)
    batch = 4 * images(residual, 6)

    lowered = lower(original)

    check_model(lowered.model)
    assert lowered.notes == ()
    assert prove_equal(original, lowered.model, batch) == 0.0
    for model in (original, lowered.model):  # the reference knows DequantizeLinear from 19 on; its meaning is the same
        model.opset_import[0].version = 19
    np.testing.assert_array_equal(run_reference(lowered.model, batch), run_reference(original, batch))


def test_activations_become_uint8_and_weights_stay_int8(residual):
    lowered = lower(s8(residual)).model

    assert types(lowered)["QuantizeLinear"].keys() == {"uint8"}
    assert types(lowered)["DequantizeLinear"] == {"uint8": 8, "int8": 3}


def test_float_activations_become_integer_clips_with_the_bounds_of_the_codes(residual):
    lowered = lower(s8(residual, high=20.0)).model

    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in lowered.graph.initializer}
    assert not {"Relu"} & operators(lowered).keys()
    clips = [node for node in lowered.graph.node if node.op_type == "Clip"]
    assert all(stored[node.input[2]].dtype == np.uint8 for node in clips)
    # ReLU6 narrows 20 to 6, so code 127 is 6; the Relu saturates where int8 did
    assert [(node.input[1], stored[node.input[2]].item()) for node in clips] == [("", 127), ("", 127)]


def test_without_the_integer_clip_the_numbers_would_differ(residual, images):
    original = s8(residual, high=0.3)
    lowered = lower(original).model
    for node in lowered.graph.node:
        if node.op_type == "Clip":
            node.input[2] = node.input[2].replace("_127", "_200")
    lowered.graph.initializer.append(numpy_helper.from_array(np.array(200, np.uint8), "robustmq_u8_bound_200"))

    with pytest.raises(UnsupportedError, match=r"not exact on this model: tensor '.*' of image 0 differs by up to"):
        prove_equal(original, lowered, 4 * images(residual, 2))


def test_every_convolution_and_add_runs_in_integers(residual, images, run_ort, tmp_path):
    lowered = lower(s8(residual)).model

    run_ort(lowered, images(residual, 2), optimized=str(tmp_path / "optimized.onnx"))

    kinds = operators(onnx.load(str(tmp_path / "optimized.onnx")))
    assert (kinds["QLinearConv"], kinds["QLinearAdd"], kinds["QGemm"]) == (2, 1, 1)
    assert not {"Conv", "Add", "Relu", "Gemm", "MaxPool", "GlobalAveragePool"} & (kinds.keys() - {"MaxPool"})


def test_lowering_does_not_change_its_input_and_is_done_once(residual):
    original = s8(residual)
    before = original.SerializeToString(deterministic=True)

    once = lower(original).model

    assert original.SerializeToString(deterministic=True) == before
    assert lower(once).model == once
    assert {entry.key for entry in once.metadata_props} >= {"robustmq.lowered_from", "robustmq.profile"}


CODES = """
<ir_version: 9, opset_import: ["" : 19]>
net (float[N,4] image) => (float[N,4] out)
<float s = {0.5}, float finer = {0.25}, int8 z = {0}, int8 five = {5}, int8 low = {-7}, int8 high = {7},
 float lo = {-1.2}, float hi = {9.0}, float five_ = {2.5},
 float[4] many = {0.5, 0.5, 0.5, 0.5}, int8[4] zeros = {0, 0, 0, 0}, int16 wide = {0}> {
    %s
}"""
EXACT = {
    "a zero point other than 0": "q = QuantizeLinear(image, s, five) out = DequantizeLinear(q, s, five)",
    "bounds on both sides of 0": "c = Clip(image, lo, hi) q = QuantizeLinear(c, s, z) out = DequantizeLinear(q, s, z)",
    "only a lower bound": "c = Clip(image, lo) q = QuantizeLinear(c, s, z) out = DequantizeLinear(q, s, z)",
    "a lower bound above 0": "c = Clip(image, hi) q = QuantizeLinear(c, s, z) out = DequantizeLinear(q, s, z)",
    "a narrow grid": "q = QuantizeLinear(image, s, z) c = Clip(q, low, high) out = DequantizeLinear(c, s, z)",
    "a narrow grid behind a Relu": """r = Relu(image) q = QuantizeLinear(r, s, z) c = Clip(q, low, high)
        out = DequantizeLinear(c, s, z)""",
    "a narrow grid that is looser": """c = Clip(image, lo, five_) q = QuantizeLinear(c, s, z)
        k = Clip(q, low, high) out = DequantizeLinear(k, s, z)""",
    "a grid below 0": """r = Relu(image) q = QuantizeLinear(r, s, z) c = Clip(q, low, low)
        out = DequantizeLinear(c, s, z)""",
    "a narrow grid carried on": """r = Relu(image) q = QuantizeLinear(r, s, z) k = Clip(q, low, high)
        d = DequantizeLinear(k, s, z) i = Identity(d)
        p = QuantizeLinear(i, s, z) c = Clip(p, low, high) out = DequantizeLinear(c, s, z)""",
    "a declared type": "q = QuantizeLinear(image, s, z) out = DequantizeLinear(q, s)",
    "codes carried on": """r = Relu(image) q = QuantizeLinear(r, s, z) d = DequantizeLinear(q, s, z) i = Identity(d)
        p = QuantizeLinear(i, s, z) out = DequantizeLinear(p, s, z)""",
    "codes carried on to a finer grid": """r = Relu(image) q = QuantizeLinear(r, s, z) d = DequantizeLinear(q, s, z)
        i = Identity(d) p = QuantizeLinear(i, finer, z) out = DequantizeLinear(p, finer, z)""",
}
KEPT = {
    "int16 codes": ("q = QuantizeLinear(image, s, wide) out = DequantizeLinear(q, s, wide)", "int16"),
    "a scale per channel": (
        "q = QuantizeLinear<axis=1>(image, many, zeros) out = DequantizeLinear<axis=1>(q, many, zeros)",
        "no single float32 constant",
    ),
    "codes read by others": (
        "q = QuantizeLinear(image, s, z) t = Transpose<perm=[0,1]>(q) out = DequantizeLinear(t, s, z)",
        "read by Transpose",
    ),
}


def codes(body: str) -> onnx.ModelProto:
    model: onnx.ModelProto = parser.parse_model(CODES % body)
    return model


@pytest.mark.parametrize("body", EXACT.values(), ids=EXACT.keys())
def test_rarer_patterns_are_exact_too(body, rng):
    original = codes(body)
    values = rng.normal(scale=40, size=(64, 4)).astype(np.float32)
    values[0] = [0.25, -0.25, -0.75, 1e9]  # ties, and far outside

    lowered = lower(original)

    check_model(lowered.model)
    assert types_of_quantizers(lowered.model) == {np.dtype(np.uint8)}
    assert prove_equal(original, lowered.model, values) == 0.0


def types_of_quantizers(model: onnx.ModelProto) -> set[np.dtype[np.generic]]:
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {stored[node.input[2]].dtype for node in model.graph.node if node.op_type == "QuantizeLinear"}


@pytest.mark.parametrize(("body", "reason"), KEPT.values(), ids=KEPT.keys())
def test_what_cannot_be_lowered_is_left_alone_and_named(body, reason):
    original = codes(body)

    lowered = lower(original)

    assert list(lowered.model.graph.node) == list(original.graph.node)
    (note,) = lowered.notes
    assert note.startswith("'q' was left as it is: ")
    assert reason in note


def test_an_activation_that_others_read_stays_and_is_named(rng):
    original = codes("r = Relu(image) q = QuantizeLinear(r, s, z) d = DequantizeLinear(q, s, z) out = Add(d, r)")

    lowered = lower(original)

    assert operators(lowered.model)["Relu"] == 1
    assert "stays in float: its output is read elsewhere too" in lowered.notes[0]
    assert prove_equal(original, lowered.model, rng.normal(size=(8, 4)).astype(np.float32)) == 0.0


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_narrower_grids_are_lowered_exactly_too(bits, residual, images):
    ranges = RangeTable(
        method="min-max",
        images=1,
        model_sha256="0" * 64,
        data_sha256="1" * 64,
        preset="x",
        ranges=dict.fromkeys(quantizable_tensors(residual, profile="trt-s8"), (-2.0, 3.0)),
    )
    recipe = Recipe(precision=Precision.from_bits(bits), keep_ends=False)
    original = to_grid(s8(residual), residual, ranges, recipe=recipe)

    lowered = lower(original)

    assert lowered.notes == ()
    assert types_of_quantizers(lowered.model) == {np.dtype(np.uint8)}
    assert "Relu" not in operators(lowered.model)
    assert prove_equal(original, lowered.model, 4 * images(residual, 4)) == 0.0


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "fused"),
    {
        "resnet20_cifar10_float": {"QLinearConv": 19, "QLinearAdd": 9, "QGemm": 1},
        "resnet56_cifar10_float": {"QLinearConv": 55, "QLinearAdd": 27, "QGemm": 1},
        "mobilenet_v1_025_float": {"QLinearConv": 28},
        "mobilenet_v2_float": {"QLinearConv": 53, "QLinearAdd": 10},
    }.items(),
)
def test_real_models_are_lowered_exactly_and_run_fully_in_integers(name, fused, realdata, images, run_ort, tmp_path):
    model = prepare(read_model(realdata / f"models/{name}.onnx")).model
    original = s8(model)

    lowered = lower(original)

    assert lowered.notes == ()
    assert prove_equal(original, lowered.model, 2 * images(model, 1)) == 0.0
    run_ort(lowered.model, images(model, 1), optimized=str(tmp_path / "optimized.onnx"))
    kinds = operators(onnx.load(str(tmp_path / "optimized.onnx")))
    assert {kind: kinds[kind] for kind in fused} == fused
    assert not {"Conv", "Relu", "Gemm", "Add", "MatMul", "GlobalAveragePool"} & kinds.keys()
