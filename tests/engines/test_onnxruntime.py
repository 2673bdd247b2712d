import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from robustmq_trt.core.errors import EngineError, InputError, UnsupportedError
from robustmq_trt.core.files import sha256_file
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine

IMAGES = np.random.default_rng(3).normal(size=(4, 3, 8, 8)).astype(np.float32)

Save = Callable[[str], Path]


def test_float_scores_equal_the_onnx_reference(float_model: Path):
    expected = ReferenceEvaluator(onnx.load(float_model)).run(None, {"x": IMAGES})[0]

    np.testing.assert_allclose(OnnxRuntimeEngine.open(float_model).infer(IMAGES), expected, rtol=0, atol=1e-5)


def test_simulation_of_a_quantized_file_equals_the_onnx_reference(qdq_model: Path):
    expected = ReferenceEvaluator(onnx.load(qdq_model)).run(None, {"x": IMAGES})[0]
    engine = OnnxRuntimeEngine.open(qdq_model, simulate=True)

    np.testing.assert_allclose(engine.infer(IMAGES), expected, rtol=0, atol=1e-5)
    assert engine.provenance()["kind"] == "onnxruntime-simulation"
    assert engine.audit().integer_coverage == 0.0
    assert {layer.reason for layer in engine.audit().layers} == {"simulation: Q/DQ run in float"}


def test_signature_is_read_from_the_file(float_model: Path):
    spec = OnnxRuntimeEngine.open(float_model).spec

    assert spec.to_json() == {
        "input_name": "x",
        "height": 8,
        "width": 8,
        "channels": 3,
        "layout": "nchw",
        "dtype": "float32",
        "fixed_batch": None,
        "classes": 5,
        "output_kind": "logits",
        "input_grid": None,
    }


def test_uint8_nhwc_input_of_a_fixed_batch_is_recognised(saved: Save):
    path = saved("""
    g (uint8[2,6,7,3] x) => (float[2,3] y) {
      f = Cast <to = 1> (x)
      i = Constant <value_ints = [1, 2]> ()
      y = ReduceMean <keepdims = 0> (f, i)
    }""")
    pixels = np.arange(2 * 6 * 7 * 3, dtype=np.uint8).reshape(2, 6, 7, 3)

    engine = OnnxRuntimeEngine.open(path)

    spec = engine.spec
    assert (spec.layout, spec.dtype, spec.fixed_batch, spec.image_shape) == ("nhwc", "uint8", 2, (6, 7, 3))
    np.testing.assert_allclose(engine.infer(pixels), pixels.mean(axis=(1, 2)), rtol=1e-6)
    with pytest.raises(InputError, match=re.escape("Expected a batch (2, 6, 7, 3)")):
        engine.infer(pixels[:1])


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("y = Identity (a)", "logits"),
        ("y = Softmax (a)", "probabilities"),
        ("l = Softmax (a) y = Identity (l)", "probabilities"),
        ("y = LogSoftmax (a)", "logits"),
    ],
)
def test_probabilities_are_told_from_logits(saved: Save, ending: str, kind: str):
    path = saved(f"g (float[N,3,8,8] x) => (float[N,3] y) {{ p = GlobalAveragePool (x) a = Flatten (p) {ending} }}")

    assert OnnxRuntimeEngine.open(path).spec.output_kind == kind


def test_non_finite_scores_are_handed_out_as_they_are(float_model: Path):
    broken = IMAGES.copy()
    broken[1] = np.nan

    scores = OnnxRuntimeEngine.open(float_model).infer(broken)

    assert np.isnan(scores[1]).all()
    assert np.isfinite(scores[[0, 2, 3]]).all()


def test_provenance_names_what_moves_a_number(float_model: Path):
    facts = OnnxRuntimeEngine.open(float_model, threads=2).provenance()

    assert facts["model_sha256"] == sha256_file(float_model)
    assert (facts["threads"], facts["kind"], facts["optimization"]) == (2, "onnxruntime", "all")
    assert facts["providers"] == ["CPUExecutionProvider"]


def test_weights_in_a_file_beside_the_model_are_hashed(float_model: Path):
    beside = float_model.with_name("beside.onnx")
    onnx.save(onnx.load(float_model), beside, save_as_external_data=True, location="w.bin", size_threshold=0)

    facts = OnnxRuntimeEngine.open(beside).provenance()

    assert facts["external_data_sha256"] == {"w.bin": sha256_file(beside.with_name("w.bin"))}


def test_audit_of_a_file_that_changed_is_refused(float_model: Path, qdq_text: str, saved: Save):
    engine = OnnxRuntimeEngine.open(float_model)
    saved(qdq_text)

    with pytest.raises(InputError, match="has changed"):
        engine.audit()


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08\x12\x00"], ids=["empty", "text", "hollow"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(InputError, match="not a valid ONNX model"):
        OnnxRuntimeEngine.open(path)


def test_custom_operators_are_refused_before_the_runtime_sees_them(saved: Save):
    model = onnx.load(saved("g (float[N,3,8,8] x) => (float[N,3] y) { p = GlobalAveragePool (x) y = Flatten (p) }"))
    model.opset_import.append(onnx.helper.make_opsetid("evil", 1))
    model.graph.node[0].domain = "evil"
    path = saved("g (float[N,3] x) => (float[N,3] y) { y = Identity (x) }")
    onnx.save(model, path)

    with pytest.raises(UnsupportedError, match=r"evil::GlobalAveragePool.*--custom-ops.*let a server"):
        OnnxRuntimeEngine.open(path)


def test_custom_operators_are_found_inside_of_branches(tmp_path: Path):
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17, "evil" : 1]>
        g (float[N,3,8,8] x) => (float[N,3] y) <bool c = {1}> {
          p = GlobalAveragePool (x)
          q = If (c) <then_branch = a () => (float[N,3,1,1] r) { r = evil.Act (p) },
                      else_branch = b () => (float[N,3,1,1] s) { s = Identity (p) }>
          y = Flatten (q)
        }""")
    onnx.save(model, tmp_path / "model.onnx")

    with pytest.raises(UnsupportedError, match="evil::Act"):
        OnnxRuntimeEngine.open(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("g (float[N,3] x) => (float[N,3] y) { y = Identity (x) }", "image input"),
        ("g (float[N,3,H,8] x) => (float[N,3] y) { p = GlobalAveragePool (x) y = Flatten (p) }", "fixed image size"),
        ("g (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu (x) }", "Only classifiers"),
        ("g (double[N,3,8,8] x) => (double[N,192] y) { y = Flatten (x) }", "float32, float16 or uint8"),
        (
            "g (float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,192] y) { a = Add (x, z) y = Flatten (a) }",
            "one input and one output",
        ),
    ],
)
def test_what_is_no_image_classifier_is_refused(saved: Save, text: str, message: str):
    with pytest.raises(UnsupportedError, match=message):
        OnnxRuntimeEngine.open(saved(text))


def test_a_graph_the_runtime_refuses_is_the_users_mistake(saved: Save):
    path = saved("g (float[N,3,8,8] x) => (float[N,5] y) { f = Flatten (x) y = Gemm <transB = 1> (f, v, c) }")

    with pytest.raises(InputError, match="ONNX Runtime cannot load"):
        OnnxRuntimeEngine.open(path).infer(IMAGES)


def test_a_batch_the_runtime_fails_on_is_the_engines_failure(saved: Save):
    # 192 numbers are one image's: two images do not fit the shape that the graph insists on.
    text = "g (float[N,3,8,8] x) => (float[M,192] y) <int64[2] one = {1, 192}> { y = Reshape (x, one) }"
    engine = OnnxRuntimeEngine.open(saved(text))
    assert engine.infer(IMAGES[:1]).shape == (1, 192)

    with pytest.raises(EngineError, match=f"ONNX Runtime failed on a batch of {len(IMAGES)}"):
        engine.infer(IMAGES)


def test_fewer_than_one_thread_is_refused(float_model: Path):
    with pytest.raises(InputError, match="threads"):
        OnnxRuntimeEngine.open(float_model, threads=0)


def test_a_provider_that_is_not_there_is_refused(float_model: Path):
    with pytest.raises(UnsupportedError, match="no MissingExecutionProvider"):
        OnnxRuntimeEngine.open(float_model, providers=("MissingExecutionProvider",))


def test_fp8_is_refused_with_what_takes_it_and_simulated(tmp_path: Path):
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 19]>
        g (float[N,3,8,8] x) => (float[N,3] y) <float s = {0.5}> {
          q = QuantizeLinear (x, s, z)
          d = DequantizeLinear (q, s, z)
          p = GlobalAveragePool (d)
          y = Flatten (p)
        }""")
    model.graph.initializer.append(onnx.helper.make_tensor("z", onnx.TensorProto.FLOAT8E4M3FN, [], b"\0", raw=True))
    path = tmp_path / "fp8.onnx"
    onnx.save(model, path)

    with pytest.raises(UnsupportedError, match=r"FP8.*simulation:.*openvino:"):
        OnnxRuntimeEngine.open(path)
    scores = OnnxRuntimeEngine.open(path, simulate=True).infer(IMAGES)
    np.testing.assert_allclose(scores, ReferenceEvaluator(model).run(None, {"x": IMAGES})[0], rtol=0, atol=1e-6)
