from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from robustmq_trt.engines.audit import Audit, LayerVerdict
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.engines.openvino import OpenVinoEngine
from robustmq_trt.engines.openvino_audit import _judge, _Kernel, _partner


def audited(path: Path, *, simulate: bool = False) -> Audit:
    return OpenVinoEngine.open(path, threads=1, simulate=simulate).audit()


def identities(layers: list[LayerVerdict]) -> list[tuple[str, str, int | None]]:
    return [(layer.name, layer.operator, layer.macs) for layer in layers]


def test_a_quantized_layer_is_integer_and_a_float_one_beside_it_is_not(qdq_model: Path):
    conv, gemm = audited(qdq_model).layers

    assert (conv.name, conv.operator, conv.compute, conv.reason) == ("h", "Conv", "integer", "")
    assert (gemm.name, gemm.operator, gemm.compute, gemm.reason) == ("y", "Gemm", "float", "weights are float")
    assert conv.kernel.startswith("Convolution ")
    assert conv.kernel.lower().endswith("_i8")


def test_coverage_is_the_share_of_macs_counted_by_hand(qdq_model: Path):
    audit = audited(qdq_model)

    conv, gemm = 8 * 8 * 4 * 3 * 3 * 3, 4 * 5
    assert [layer.macs for layer in audit.layers] == [conv, gemm]
    assert audit.integer_coverage == conv / (conv + gemm)


def test_a_float_file_has_no_integer_layer(float_model: Path):
    audit = audited(float_model)

    assert audit.integer_coverage == 0.0
    assert {layer.reason for layer in audit.layers} == {"float model"}


def test_the_simulation_has_no_integer_layer_and_says_so(qdq_model: Path):
    audit = audited(qdq_model, simulate=True)

    assert audit.backend == "openvino-simulation"
    assert {(layer.compute, layer.reason) for layer in audit.layers} == {("float", "simulation: Q/DQ run in float")}


def test_an_ir_is_audited_like_its_onnx_file(ir_model: Path, qdq_model: Path):
    ir, model = audited(ir_model), audited(qdq_model)

    assert [layer.operator for layer in ir.layers] == ["Convolution", "MatMul"]
    assert [(layer.name, layer.macs, layer.compute) for layer in ir.layers] == [
        (layer.name, layer.macs, layer.compute) for layer in model.layers
    ]


def test_layers_and_macs_are_those_of_the_other_backend(qdq_model: Path):
    other = OnnxRuntimeEngine.open(qdq_model, threads=1).audit()

    assert identities(list(audited(qdq_model).layers)) == identities(list(other.layers))


def test_shares_of_time_stay_below_the_whole(qdq_model: Path):
    audit = audited(qdq_model)

    shares = [layer.share_of_time or 0.0 for layer in audit.layers]
    shares += [operator.share_of_time for operator in audit.float_operators]
    assert all(share >= 0 for share in shares)
    assert sum(shares) <= 1.0


def test_an_unquantized_activation_is_the_reason(saved: Callable[[str], Path], qdq_text: str):
    conv, _ = audited(saved(qdq_text.replace("(xd, wd, b)", "(x, wd, b)"))).layers

    assert (conv.compute, conv.reason) == ("float", "input tensor 'x' has no QuantizeLinear")


def stored(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    """Store the convolution's weights as codes of an integer type in the file, the way 4-bit files do."""
    nodes = {node.output[0]: node for node in model.graph.node}
    model.graph.node.remove(nodes["wq"])
    model.graph.initializer.remove(next(tensor for tensor in model.graph.initializer if tensor.name == "w"))
    codes = np.random.default_rng(0).integers(-7, 8, (4, 3, 3, 3))
    model.graph.initializer.append(helper.make_tensor("wq", kind, codes.shape, codes.ravel().tolist()))
    model.graph.initializer.append(helper.make_tensor("wz", kind, (), [0]))
    nodes["wd"].input[2] = "wz"
    model.opset_import[0].version = 21
    model.ir_version = 10
    return model


def test_four_bit_weights_are_not_called_integer(parsed: Callable, qdq_text: str, tmp_path: Path):
    onnx.save(stored(parsed(qdq_text), TensorProto.INT4), tmp_path / "w4.onnx")

    conv, _ = audited(tmp_path / "w4.onnx").layers

    assert conv.compute != "integer"
    assert conv.reason == "weight type i4 has no integer kernel"


def test_four_bit_values_stored_as_int8_are_integer(parsed: Callable, qdq_text: str, tmp_path: Path):
    onnx.save(stored(parsed(qdq_text), TensorProto.INT8), tmp_path / "w4-in-int8.onnx")

    conv, _ = audited(tmp_path / "w4-in-int8.onnx").layers

    assert conv.compute == "integer"


def test_sixteen_bit_activations_are_not_called_integer(parsed: Callable, qdq_text: str, tmp_path: Path):
    text = qdq_text.replace("uint8 z = {128}", "uint16 z = {32768}").replace("uint8 z0 = {0}", "uint16 z0 = {0}")
    model = parsed(text)
    model.opset_import[0].version = 21
    model.ir_version = 10
    onnx.save(model, tmp_path / "a16.onnx")

    conv, _ = audited(tmp_path / "a16.onnx").layers

    assert conv.compute != "integer"
    assert conv.reason == "activation grid of 65536 levels has no integer kernel"


def test_a_layer_whose_work_is_not_counted_proves_nothing(parsed: Callable, tmp_path: Path):
    model = parsed("""
g (float[N,3,8,8] x) => (float[N,5] y) {
  f = Reshape (x, flat)
  t = Transpose <perm = [1,0,2]> (f)
  s, h = LSTM <hidden_size = 4> (t, lw, lr)
  q = Squeeze (h, first)
  y = Gemm <transB = 1> (q, v, c)
}""")
    rng = np.random.default_rng(0)
    for name, values in {
        "flat": np.int64([0, 3, 64]),
        "first": np.int64([0]),
        "lw": rng.normal(0, 0.1, (1, 16, 64)).astype(np.float32),
        "lr": rng.normal(0, 0.1, (1, 16, 4)).astype(np.float32),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, tmp_path / "lstm.onnx")

    audit = audited(tmp_path / "lstm.onnx")

    assert any(layer.macs is None for layer in audit.layers)
    assert audit.integer_coverage == 0.0


class _Layer:
    """As much of an OpenVINO node as matching and judging look at."""

    def __init__(self, name: str = "a", kind: str = "MatMul") -> None:
        self._name, self._kind = name, kind

    def get_friendly_name(self) -> str:
        return self._name

    def get_type_name(self) -> str:
        return self._kind


def kernel(kind: str, primitive: str, *inputs: str, layers: str = "a") -> _Kernel:
    return _Kernel(kind=kind, primitive=primitive, inputs=inputs, layers=layers, microseconds=1.0)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "no kernel"),
        (kernel("Subgraph", "jit_avx512_i8", "i8", "i8"), "fused into a Subgraph"),
        (kernel("FullyConnected", "brgemm_avx512_i8", "i8", "f32"), "brgemm_avx512_i8 reads i8 and f32"),
        (kernel("FullyConnected", "brgemm_avx512_f32", "i8", "i8"), "brgemm_avx512_f32 reads i8 and i8"),
        (kernel("FullyConnected", "undef", "i8", "i8"), "undef reads i8 and i8"),
        (kernel("FullyConnected", "brgemm_avx512_i8", "i8"), "reads i8 and nothing"),
    ],
)
def test_contradicting_evidence_is_unknown(found: _Kernel | None, said: str):
    compute, reason = _judge(None, _Layer(), found)

    assert compute == "unknown"
    assert said in reason


def test_a_layer_named_by_two_kernels_is_matched_to_neither():
    twice = [kernel("MatMul", "p_i8", layers="a,b"), kernel("MatMul", "p_f32", layers="c,a")]

    assert _partner(_Layer("a"), twice) is None


def test_a_name_that_only_begins_alike_is_no_match():
    assert _partner(_Layer("a"), [kernel("MatMul", "p_i8", layers="ab,ba")]) is None


@pytest.mark.realdata
@pytest.mark.parametrize("symmetric", [True, False], ids=["int8", "uint8"])
@pytest.mark.parametrize("name", ["resnet20_cifar10_float", pytest.param("mobilenet_v2_float", marks=pytest.mark.slow)])
def test_real_networks_run_in_integers_as_they_are(quantized: Callable[[str, bool], Path], name: str, symmetric: bool):
    assert audited(quantized(name, symmetric)).integer_coverage >= 0.99


@pytest.mark.realdata
def test_layers_and_macs_of_resnet20_are_those_of_the_other_backend(quantized: Callable[[str, bool], Path]):
    path = quantized("resnet20_cifar10_float", True)
    other = OnnxRuntimeEngine.open(path, threads=1).audit()

    assert identities(list(audited(path).layers)) == identities(list(other.layers))


@pytest.mark.realdata
def test_a_real_float_network_has_no_integer_layer(realdata: Path):
    assert audited(realdata / "models" / "resnet20_cifar10_float.onnx").integer_coverage == 0.0
