from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.export.lint import lint, lint_rules_table
from robustmq_trt.export.lint_rules import RULES
from robustmq_trt.export.lower import lower
from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantizable_tensors, quantize

HEAD = """
<ir_version: 10, opset_import: ["" : %d, "com.microsoft" : 1]>
net (float[N,2,4,4] image) => (float[N,2,4,4] out)
<float s = {0.5}, int8 z = {0}, int8 off = {3}, uint8 u = {0}, uint8 v = {128}, int16 wide = {0},
 int8[2,2,1,1] w = {1, 2, 3, 4}, float[2] ws = {0.5, 0.25}, int8[2] wz = {0, 0}, float[2,2,1,1] fw = {1, 2, 3, 4},
 int32[2] b = {5, 6}, float none = {0.0}, int8[2,2,1,1] least = {-128, 2, 3, 4}, double d = {0.5},
 float[3] three = {1, 1, 1}, int8[3] threez = {0, 0, 0}, int4[2,2,1,1] four = {1, 2, 3, 4},
 int4[3,1,1,1] odd = {1, 2, 3}, int4 fz = {0}, float[2,1,1,1] blocks = {1, 1}> {
    %s
}"""
IN = "q = QuantizeLinear(image, s, z) x = DequantizeLinear(q, s, z)"
WEIGHT = "k = DequantizeLinear<axis=0>(w, ws, wz)"
CLEAN = f"{IN} {WEIGHT} out = Conv(x, k)"
BROKEN = {
    "zero-point": f"q = QuantizeLinear(image, s, off) x = DequantizeLinear(q, s, off) {WEIGHT} out = Conv(x, k)",
    "uint8": f"q = QuantizeLinear(image, s, u) x = DequantizeLinear(q, s, u) {WEIGHT} out = Conv(x, k)",
    "type": f"q = QuantizeLinear(image, s, wide) x = DequantizeLinear(q, s, wide) {WEIGHT} out = Conv(x, k)",
    "default-type": f"q = QuantizeLinear(image, s) x = DequantizeLinear(q, s) {WEIGHT} out = Conv(x, k)",
    "scale-value": f"q = QuantizeLinear(image, none, z) x = DequantizeLinear(q, none, z) {WEIGHT} out = Conv(x, k)",
    "constant": f"t = Abs(s) q = QuantizeLinear(image, t, z) x = DequantizeLinear(q, t, z) {WEIGHT} out = Conv(x, k)",
    "scale-count": f"{IN} k = DequantizeLinear<axis=0>(w, three, threez) out = Conv(x, k)",
    "activation-axis": f"""q = QuantizeLinear<axis=1>(image, ws, wz) x = DequantizeLinear<axis=1>(q, ws, wz)
        {WEIGHT} out = Conv(x, k)""",
    "weight-axis": f"{IN} k = DequantizeLinear<axis=1>(w, ws, wz) out = Conv(x, k)",
    "int32-bias": f"{IN} {WEIGHT} c = DequantizeLinear<axis=0>(b, ws) out = Conv(x, k, c)",
    "four-bit-odd": f"{IN} k = DequantizeLinear(odd, s, fz) y = MatMul(x, x) o = Mul(k, s) out = Add(x, y)",
    "four-bit-activation": f"q = QuantizeLinear(image, s, fz) x = DequantizeLinear(q, s, fz) {WEIGHT} out = Conv(x, k)",
    "four-bit-conv": f"{IN} k = DequantizeLinear(four, s, fz) out = Conv(x, k)",
    "domain": f"{IN} {WEIGHT} c = Conv(x, k) out = com.microsoft.Gelu(c)",
    "integer-operator": f"{IN} {WEIGHT} i = ConvInteger(q, w) c = Conv(x, k) j = Cast<to=1>(i) out = Add(j, c)",
    "before-activation": f"""{IN} {WEIGHT} c = Conv(x, k) p = QuantizeLinear(c, s, z) y = DequantizeLinear(p, s, z)
        out = Relu(y)""",
    "half-quantized-add": f"{IN} {WEIGHT} c = Conv(x, k) r = Relu(c) a = Add(r, x) out = Mul(a, r)",
    "fused-add": f"{IN} {WEIGHT} c = Conv(x, k) out = Add(c, x)",
    "float-weight": f"{IN} out = Conv(x, fw)",
    "float-input": f"{WEIGHT} out = Conv(image, k)",
    "pair": f"q = QuantizeLinear(image, s, z) x = DequantizeLinear(q, none2, z) {WEIGHT} out = Conv(x, k)",
    "dangling": f"{CLEAN} r = QuantizeLinear(image, s, z)",
    "codes-read": f"""q = QuantizeLinear(image, s, z) c = Clip(q, off, off) x = DequantizeLinear(c, s, z)
        {WEIGHT} out = Conv(x, k)""",
    "weight-code": f"{IN} k = DequantizeLinear<axis=0>(least, ws, wz) out = Conv(x, k)",
    "not-quantized": "out = Relu(image)",
}


def model_of(body: str, version: int = 21) -> onnx.ModelProto:
    model: onnx.ModelProto = parser.parse_model(
        HEAD.replace("double d", "float none2 = {0.7}, double d") % (version, body)
    )
    return model


def rules(model: onnx.ModelProto) -> set[str]:
    return {finding.rule for finding in lint(model)}


def test_a_file_that_keeps_the_rules_has_no_findings():
    assert lint(model_of(CLEAN)) == ()


@pytest.mark.parametrize(("rule", "body"), BROKEN.items(), ids=BROKEN.keys())
def test_each_rule_finds_the_file_that_breaks_it(rule, body):
    assert rule in rules(model_of(body))


ALONE = sorted(BROKEN.keys() - {"four-bit-odd", "integer-operator", "pair"})


@pytest.mark.parametrize("rule", ALONE)
def test_breaking_one_rule_gives_no_other_finding(rule):
    assert rules(model_of(BROKEN[rule])) == {rule}


def test_blocks_go_along_one_axis_and_have_a_usual_size():
    good = model_of(f"{IN} k = DequantizeLinear<axis=1, block_size=2>(four, blocks) out = Conv(x, k)")
    wrong = model_of(f"{IN} k = DequantizeLinear<axis=1, block_size=2>(four, blocks) out = Conv(x, k)")
    next(t for t in wrong.graph.initializer if t.name == "blocks").dims[:] = [1, 1, 2, 1]

    assert rules(good) == {"four-bit-conv", "block-size"}
    assert "blocks" in rules(wrong)


def test_double_scales_are_no_scales():
    model = model_of(CLEAN)
    model.graph.node[0].input[1] = model.graph.node[1].input[1] = "d"

    assert rules(model) == {"scale-type"}


@pytest.mark.parametrize(("version", "expected"), [(12, "opset"), (16, "old-opset"), (17, None)])
def test_old_opsets_are_named(version, expected):
    model = model_of("out = Relu(image)", version)

    assert rules(model) - {"not-quantized"} == ({expected} if expected else set())


def test_only_the_batch_may_be_dynamic():
    model = model_of(CLEAN)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"

    (finding,) = lint(model)

    assert (finding.rule, finding.node, finding.message) == (
        "dynamic-dims",
        "image",
        "Axes [2] of the input are dynamic.",
    )


def test_scales_and_types_may_come_from_constant_nodes_and_float_weights():
    body = f"""t = Constant<value_float=0.5>() {IN} p = QuantizeLinear<axis=0>(fw, ws, wz)
        k = DequantizeLinear<axis=0>(p, ws, wz) c = Conv(x, k) out = Mul(c, t)"""

    assert lint(model_of(body)) == ()


def test_errors_come_first_and_carry_the_source_of_their_rule():
    model = model_of(
        BROKEN["before-activation"].replace("QuantizeLinear(image, s, z)", "QuantizeLinear(image, s, off)")
    )

    findings = lint(model)

    assert [finding.severity for finding in findings] == sorted(
        (f.severity for f in findings), key="error warning".find
    )
    assert findings[0].to_json()["source"] == RULES[findings[0].rule].source


def test_every_rule_has_a_source_and_is_listed():
    table = lint_rules_table()

    assert len(table) == len(RULES)
    assert all(source and summary.endswith(".") for _, _, summary, source in table)


def test_an_unknown_target_is_named():
    with pytest.raises(InputError, match=r"Unknown lint target 'tensort'\. Did you mean 'tensorrt'"):
        lint(model_of(CLEAN), "tensort")


def quantized(model: onnx.ModelProto, profile: str, **options: Any) -> onnx.ModelProto:
    names = quantizable_tensors(model, profile=profile)
    ranges = RangeTable(
        method="min-max",
        images=1,
        model_sha256="0" * 64,
        data_sha256="1" * 64,
        preset="x",
        ranges=dict.fromkeys(names, (-1.0, 2.0)),
    )
    return quantize(model, ranges, profile=profile, **options)


@pytest.mark.parametrize("weights_as", ["int8", "float"])
@pytest.mark.parametrize("name", ["conv_bn", "softmax", "nhwc"])
def test_our_tensorrt_profile_is_clean(name, weights_as, make_net):
    assert lint(quantized(prepare(make_net(name)).model, "trt-s8", weights_as=weights_as)) == ()


def test_our_cpu_profile_is_not_for_tensorrt(make_net):
    model = quantized(prepare(make_net("conv_bn")).model, "cpu-u8")

    assert rules(model) == {"uint8", "zero-point", "int32-bias"}


def test_what_was_lowered_for_cpus_is_not_for_tensorrt(make_net):
    model = lower(quantized(prepare(make_net("conv_bn")).model, "trt-s8")).model

    assert rules(model) == {"uint8", "zero-point", "codes-read"}


def test_onnxruntimes_own_files_break_the_rules_they_are_known_to_break(make_net, tmp_path):
    from onnxruntime import quantization

    onnx.save(prepare(make_net("conv_bn")).model, tmp_path / "float.onnx")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = iter([{"image": np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)}])

        def get_next(self) -> Any:
            return next(self.left, None)

    quantization.quantize_static(
        str(tmp_path / "float.onnx"), str(tmp_path / "default.onnx"), Reader(), per_channel=True
    )
    found = Counter(finding.rule for finding in lint(read_model(tmp_path / "default.onnx")))

    assert found["int32-bias"] == 2  # one Conv, one Gemm
    assert found.keys() - {"old-opset"} <= {"int32-bias", "zero-point", "uint8", "before-activation"}


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        *("resnet20_cifar10_float", "resnet56_cifar10_float"),
        *("mobilenet_v1_025_float", "mobilenet_v1_075_float", "mobilenet_v2_float", "mobilenet_v2_qat_float"),
    ],
)
def test_our_tensorrt_profile_of_real_models_is_clean(name, realdata):
    model = prepare(read_model(realdata / f"models/{name}.onnx")).model

    assert lint(quantized(model, "trt-s8")) == ()
