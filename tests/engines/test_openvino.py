import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from robustmq_trt.core.errors import EngineError, InputError, RefusedError, UnsupportedError
from robustmq_trt.engines.openvino import OpenVinoEngine
from robustmq_trt.engines.selftest import self_test


def noise(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (count, *(shape or (3, 8, 8)))).astype(np.float32)


def opened(path: Path, **options) -> OpenVinoEngine:
    return OpenVinoEngine.open(path, **{"threads": 1, **options})


def reference(path: Path, batch: np.ndarray) -> np.ndarray:
    (scores,) = ReferenceEvaluator(onnx.load(path)).run(None, {"x": batch})
    return scores


def test_float_scores_are_those_of_the_onnx_reference(float_model: Path):
    batch = noise(3)

    np.testing.assert_allclose(opened(float_model).infer(batch), reference(float_model, batch), atol=1e-5)


@pytest.mark.parametrize("simulate", [False, True])
def test_quantized_scores_are_within_a_step_of_the_onnx_reference(qdq_model: Path, simulate: bool):
    batch = noise(3)

    scores = opened(qdq_model, simulate=simulate).infer(batch)

    # One step of the activation's grid (0.02), in each of four channels, through weights of 0.3.
    np.testing.assert_allclose(scores, reference(qdq_model, batch), atol=0.02 * 4 * 0.3)


def test_an_ir_gives_the_bits_of_the_onnx_file_it_came_from(ir_model: Path, qdq_model: Path):
    np.testing.assert_array_equal(opened(ir_model).infer(noise(2)), opened(qdq_model).infer(noise(2)))


def test_signature_of_an_ir_is_that_of_the_onnx_file(ir_model: Path, qdq_model: Path):
    assert opened(ir_model).spec == opened(qdq_model).spec


def test_scores_of_one_inference_survive_the_next(float_model: Path):
    engine = opened(float_model)

    first = engine.infer(noise(2))
    kept = first.copy()
    engine.infer(-noise(2))

    np.testing.assert_array_equal(first, kept)


def test_scattered_and_write_protected_batches_are_taken(float_model: Path):
    engine, batch = opened(float_model), noise(2)
    scattered = np.asfortranarray(batch)
    batch.setflags(write=False)

    np.testing.assert_array_equal(engine.infer(batch), engine.infer(scattered))


def test_nothing_is_left_to_defaults_of_version_or_processor(float_model: Path):
    options = opened(float_model).provenance()["options"]

    assert options["INFERENCE_PRECISION_HINT"] == "f32"
    assert options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == 0
    assert options["PERFORMANCE_HINT"] == "LATENCY"
    assert (options["NUM_STREAMS"], options["INFERENCE_NUM_THREADS"]) == (1, 1)
    assert options["ENABLE_CPU_PINNING"] is False


def test_provenance_hashes_both_files_of_an_ir(ir_model: Path):
    import hashlib

    said = opened(ir_model).provenance()

    assert said["model_sha256"] == hashlib.sha256(ir_model.read_bytes()).hexdigest()
    weights = ir_model.with_suffix(".bin")
    assert said["external_data_sha256"] == {"model.bin": hashlib.sha256(weights.read_bytes()).hexdigest()}


def test_provenance_says_how_many_threads_openvino_took(float_model: Path):
    said = opened(float_model, threads=4096).provenance()

    assert said["threads_asked"] == 4096
    assert 1 <= said["threads"] < 4096


def test_a_model_of_fixed_batch_takes_no_other(parsed: Callable, float_text: str, tmp_path: Path):
    path = tmp_path / "fixed.onnx"
    onnx.save(parsed(float_text.replace("float[N,3,8,8]", "float[4,3,8,8]").replace("float[N,5]", "float[4,5]")), path)
    engine = opened(path)

    assert engine.spec.fixed_batch == 4
    assert engine.infer(noise(4)).shape == (4, 5)
    with pytest.raises(InputError, match=r"Expected a batch \(4, 3, 8, 8\)"):
        engine.infer(noise(1))


def test_uint8_images_in_rows_of_pixels_are_recognised(saved: Callable[[str], Path]):
    spec = opened(
        saved("""
g (uint8[N,8,8,3] x) => (float[N,5] y) {
  f = Cast <to = 1> (x)
  t = Transpose <perm = [0,3,1,2]> (f)
  h = Conv <pads = [1,1,1,1]> (t, w, b)
  p = GlobalAveragePool (h)
  q = Flatten (p)
  g = Gemm <transB = 1> (q, v, c)
  y = Softmax <axis = 1> (g)
}""")
    ).spec

    assert (spec.layout, spec.dtype, spec.image_shape, spec.output_kind) == (
        "nhwc",
        "uint8",
        (8, 8, 3),
        "probabilities",
    )


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("float[N,3,8,8]", "float[N,3,H,W]", r"image input .* of shape \(\?, 3, \?, \?\)"),
        ("float[N,3,8,8]", "int32[N,3,8,8]", "Expected an input of float32, float16 or uint8"),
        ("y = Gemm", "z = Gemm", "Expected scores"),
    ],
    ids=["free size", "int32", "not a row"],
)
def test_what_is_no_classifier_is_refused(
    saved: Callable[[str], Path], float_text: str, before: str, after: str, sentence: str
):
    text = float_text.replace(before, after)
    if "z = Gemm" in text:
        text = text.replace("float[N,5] y", "float[N,5,1] y").replace("y = Gemm", "z = Gemm")
        text = text.replace("(f, v, c)", "(f, v, c)\n  k = Constant <value_ints = [0,5,1]> ()\n  y = Reshape (z, k)")
    if "int32" in text:
        text = text.replace("h = Conv <pads = [1,1,1,1]> (x", "e = Cast <to = 1> (x)\n  h = Conv <pads = [1,1,1,1]> (e")

    with pytest.raises(UnsupportedError, match=sentence):
        opened(saved(text))


def test_an_ir_without_its_weights_is_refused(ir_model: Path):
    ir_model.with_suffix(".bin").unlink()

    with pytest.raises(InputError, match=r"'model\.bin' does not exist"):
        opened(ir_model)


def test_weights_behind_a_link_out_of_the_folder_are_refused(ir_model: Path, tmp_path: Path):
    weights = ir_model.with_suffix(".bin")
    weights.rename(tmp_path / "elsewhere.bin")
    weights.symlink_to(tmp_path / "elsewhere.bin")

    with pytest.raises(RefusedError, match="leaves the model's folder"):
        opened(ir_model)


def test_weights_behind_a_hard_link_are_refused(ir_model: Path, tmp_path: Path):
    os.link(ir_model.with_suffix(".bin"), tmp_path / "elsewhere.bin")

    with pytest.raises(RefusedError, match="hard link"):
        opened(ir_model)


def test_weights_behind_a_link_within_the_folder_are_taken(ir_model: Path):
    weights = ir_model.with_suffix(".bin")
    weights.rename(ir_model.with_name("other.bin"))
    weights.symlink_to("other.bin")

    assert opened(ir_model).infer(noise(1)).shape == (1, 5)


DAMAGES: dict[str, Callable[[bytes, bytes], tuple[bytes, bytes]]] = {
    "short weights": lambda xml, weights: (xml, weights[:64]),
    "no weights": lambda xml, weights: (xml, b""),
    "half a file": lambda xml, weights: (xml[: len(xml) // 2], weights),
    "not xml": lambda xml, weights: (b"hello world" * 10, weights),
    "a bare word": lambda xml, weights: (b"<net>", weights),
    "empty": lambda xml, weights: (b"", weights),
    "unknown layer": lambda xml, weights: (xml.replace(b'"Convolution"', b'"Konvolution"'), weights),
    "wrong shape": lambda xml, weights: (xml.replace(b'"4, 3, 3, 3"', b'"4, 3, 3, 9"'), weights),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_ir_is_refused_in_one_line_and_silence(
    ir_model: Path, damage: Callable[[bytes, bytes], tuple[bytes, bytes]], capfd: pytest.CaptureFixture[str]
):
    weights = ir_model.with_suffix(".bin")
    topology, content = damage(ir_model.read_bytes(), weights.read_bytes())
    ir_model.write_bytes(topology)
    weights.write_bytes(content)

    with pytest.raises(InputError) as caught:
        opened(ir_model)

    assert "\n" not in str(caught.value)
    assert "src/" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"hello world" * 10], ids=["empty", "words"])
def test_a_file_that_is_no_onnx_is_refused_in_silence(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(InputError, match="not a valid ONNX model"):
        opened(path)

    assert capfd.readouterr() == ("", "")


def test_an_operator_openvino_lacks_is_named(saved: Callable[[str], Path], float_text: str):
    lacking = "m, i = MaxPool <kernel_shape = [1,1]> (h)\n  r = MaxUnpool <kernel_shape = [1,1]> (m, i)"

    with pytest.raises(InputError, match=r"OpenVINO cannot load .*MaxUnpool"):
        opened(saved(float_text.replace("r = Relu (h)", lacking)))


def test_running_prints_nothing(qdq_model: Path, capfd: pytest.CaptureFixture[str]):
    engine = opened(qdq_model)
    engine.infer(noise(2))
    engine.audit()
    engine.close()

    assert capfd.readouterr() == ("", "")


def test_a_changed_file_is_not_audited(ir_model: Path):
    engine = opened(ir_model)
    ir_model.write_bytes(ir_model.read_bytes() + b"\n")

    with pytest.raises(InputError, match="has changed"):
        engine.audit()


def test_a_failure_inside_openvino_is_an_error_of_ours(float_model: Path, monkeypatch: pytest.MonkeyPatch):
    class Broken:
        def set_input_tensor(self, tensor: object) -> None:
            raise RuntimeError("Exception from src/a.cpp:1:\nCheck 'x' failed at src/b.cpp:2:\nOut of memory!\n\n")

    engine = opened(float_model)
    monkeypatch.setattr(engine, "_request", Broken())

    with pytest.raises(EngineError, match=r"OpenVINO failed on a batch of 1: Out of memory\.$"):
        engine.infer(noise(1))


def test_zero_threads_are_refused(float_model: Path):
    with pytest.raises(InputError, match="`threads` of at least 1"):
        opened(float_model, threads=0)


def test_a_missing_openvino_is_named_with_the_line_that_installs_it(float_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openvino", None)

    with pytest.raises(UnsupportedError, match=r"pip install 'robustmq-trt\[openvino\]'"):
        opened(float_model)


def test_openvino_opens_no_connection(qdq_model: Path):
    script = (
        "import sys; seen = []\n"
        "sys.addaudithook(lambda event, _: seen.append(event) if event.startswith('socket.') else None)\n"
        "import numpy as np\n"
        "from robustmq_trt.engines.openvino import OpenVinoEngine\n"
        f"engine = OpenVinoEngine.open({str(qdq_model)!r}, threads=1)\n"
        "engine.infer(np.zeros((1, 3, 8, 8), np.float32)); engine.audit()\n"
        "print(sorted(set(seen) & {'socket.connect', 'socket.getaddrinfo', 'socket.sendto'}))"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[]"


@pytest.mark.realdata
def test_resnet20_scores_are_the_same_bits_at_every_batch_size(quantized: Callable[[str, bool], Path]):
    engine = opened(quantized("resnet20_cifar10_float", True))

    result = self_test(engine, noise(32, 3, 32, 32))

    assert (result.repeatable, result.batch_invariant, result.max_delta) == (True, True, 0.0)


@pytest.mark.realdata
def test_resnet20_scores_are_the_same_bits_on_two_threads(quantized: Callable[[str, bool], Path]):
    path, batch = quantized("resnet20_cifar10_float", True), noise(8, 3, 32, 32)

    np.testing.assert_array_equal(opened(path, threads=1).infer(batch), opened(path, threads=2).infer(batch))
