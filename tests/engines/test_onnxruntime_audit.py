import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from robustmq_trt.engines.audit import Audit, LayerVerdict
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.engines.onnxruntime_kernels import disagreements, read_profile
from robustmq_trt.engines.onnxruntime_reasons import NOT_DETERMINED

CONV_MACS, GEMM_MACS = 8 * 8 * 4 * 27, 5 * 4


def audit_of(path: Path) -> Audit:
    return OnnxRuntimeEngine.open(path, threads=1).audit()


def test_quantized_layer_is_integer_and_the_float_head_is_not(qdq_model: Path):
    audit = audit_of(qdq_model)

    conv, gemm = audit.layers
    assert (conv.name, conv.operator, conv.kernel, conv.macs) == ("h", "Conv", "QLinearConv", CONV_MACS)
    assert (conv.compute, conv.reason) == ("integer", "")
    assert (gemm.compute, gemm.reason, gemm.macs) == ("float", "weights are float", GEMM_MACS)
    assert audit.integer_coverage == CONV_MACS / (CONV_MACS + GEMM_MACS)
    assert audit.notes == []
    assert audit.float_layers == [gemm]


def test_float_model_has_no_integer_layer(float_model: Path):
    audit = audit_of(float_model)

    assert audit.integer_coverage == 0.0
    assert [layer.reason for layer in audit.layers] == ["float model", "float model"]


def test_float_operators_are_listed_with_their_time(qdq_model: Path):
    operators = {operator.operator: operator for operator in audit_of(qdq_model).float_operators}

    assert {"QuantizeLinear", "DequantizeLinear"} <= set(operators)
    assert all(0 <= operator.share_of_time <= 1 for operator in operators.values())


def test_a_layer_of_unknown_macs_leaves_nothing_proven():
    known = LayerVerdict(name="a", operator="Conv", kernel="QLinearConv", macs=10, compute="integer")
    unknown = LayerVerdict(name="b", operator="LSTM", kernel="", macs=None, compute="unknown", reason="?")

    assert Audit(backend="x", layers=[known]).integer_coverage == 1.0
    assert Audit(backend="x", layers=[known, unknown]).integer_coverage == 0.0
    assert Audit(backend="x", layers=[]).integer_coverage == 0.0


def test_profile_is_summed_over_the_runs_after_warm_up(tmp_path: Path):
    def event(name: str, dur: int) -> dict[str, object]:
        shapes = {"input_type_shape": [{"uint8": [1, 2]}], "output_type_shape": [{"float": [1, 6]}]}
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": dur, "args": {"op_name": "QGemm", **shapes}}

    path = tmp_path / "profile.json"
    path.write_text(json.dumps([{"cat": "Session", "name": "run"}, event("a", 100), event("a", 3), event("a", 4)]))

    (node,) = read_profile(path, runs=3, skip=1)

    assert (node.name, node.kernel, node.nodes, node.microseconds) == ("a", "QGemm", 1, 7)
    assert (node.input_types, node.output_types, node.output_elements) == (("uint8",), ("float",), 6)


def test_optimized_graph_and_profile_that_differ_are_doubted(tmp_path: Path):
    path = tmp_path / "profile.json"
    events = [
        {"cat": "Node", "name": f"{name}_kernel_time", "dur": 1, "args": {"op_name": kernel}}
        for name, kernel in (("a", "Conv"), ("b", "Relu"))
    ]
    path.write_text(json.dumps(events))
    written = [onnx.helper.make_node("QLinearConv", [], ["a"]), onnx.helper.make_node("Relu", [], ["b"])]

    assert disagreements(written, read_profile(path, runs=1, skip=0)) == {"Conv", "QLinearConv"}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "layers", "macs"),
    [
        # Sandler et al. 2018, table 4: 300 M; He et al. 2016 and its CIFAR reproductions: 41 M.
        ("mobilenet_v2_float", 53, 300_775_552),
        ("resnet20_cifar10_float", 20, 40_551_040),
    ],
)
def test_real_networks_with_uint8_activations_are_all_integer(
    quantized: Callable[[str, bool], Path], name: str, layers: int, macs: int
):
    audit = audit_of(quantized(name, False))

    assert len(audit.layers) == layers
    assert audit.macs == macs
    assert audit.integer_coverage == 1.0
    assert audit.notes == []


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "convs"), [("mobilenet_v2_float", 15), ("resnet20_cifar10_float", 9)])
def test_real_networks_with_symmetric_int8_activations_stay_partly_float_and_say_why(
    quantized: Callable[[str, bool], Path], name: str, convs: int
):
    audit = audit_of(quantized(name, True))

    assert len(audit.float_layers) == convs
    assert {layer.kernel for layer in audit.float_layers} == {"Conv"}
    assert all("stays int8 because it feeds 2 layers" in layer.reason for layer in audit.float_layers)
    assert audit.integer_coverage < 0.7
    assert NOT_DETERMINED not in {layer.reason for layer in audit.layers}


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["mobilenet_v2_float", "resnet56_cifar10_float"])
def test_real_float_networks_have_no_integer_layer_and_no_unmatched_one(realdata: Path, name: str):
    audit = audit_of(realdata / "models" / f"{name}.onnx")

    assert audit.integer_coverage == 0.0
    assert {layer.reason for layer in audit.layers} == {"float model"}
    assert all(layer.share_of_time is not None for layer in audit.layers)
