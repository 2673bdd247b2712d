"""LiteRT against numpy by hand: scales, zero points, batches, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.litert import LiteRtEngine
from robustmq_trt.engines.litert_files import read_source

Save = Callable[..., Path]


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def _by_hand(path: Path, images: np.ndarray) -> np.ndarray:
    """The classifier in float: the weights on their grid, nothing rounded in between."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    found = {}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None:
            kind = {0: np.float32, 2: np.int32, 3: np.uint8, 9: np.int8}[tensor.type]
            values = np.frombuffer(data.tobytes(), kind).reshape(tensor.shape).astype(np.float64)
            grid = tensor.quantization
            if grid is not None and grid.scale is not None:
                values = (values - grid.zeroPoint[0]) * grid.scale[0]
            found[tensor.name.decode()] = values
    patches = np.lib.stride_tricks.sliding_window_view(
        np.pad((images.astype(np.float64) - 128) / 128, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2)
    )
    maps = np.einsum("nhwcij,oijc->nhwo", patches, found["w"]) + found["b"]
    logits = np.clip(maps, -6.4, 6.35).mean(axis=(1, 2)) @ found["v"].T + found["c"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("prefix", ["litert", "litert-builtin"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_quantized_scores_are_the_float_computation_within_two_levels(tflite: Save, dtype: str, prefix: str):
    path, images = tflite(dtype), _images(4)
    engine = open_engine(f"{prefix}:{path}", threads=1)

    scores = engine.infer(images)

    assert np.abs(scores - _by_hand(path, images)).max() <= 2.5 / 256
    assert np.array_equal(scores * 256, np.rint(scores * 256))


def test_float_file_takes_normalised_images_and_gives_probabilities(tflite: Save):
    path, images = tflite("float32"), _images(4)
    engine = open_engine(path, threads=1)

    scores = engine.infer((images.astype(np.float32) - 128) / 128)

    assert np.abs(scores - _by_hand(path, images)).max() < 1e-5
    assert (engine.spec.dtype, engine.spec.output_kind, engine.spec.input_grid) == ("float32", "probabilities", None)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_eight_bit_files_look_alike_from_outside(tflite: Save, dtype: str):
    spec = open_engine(tflite(dtype), threads=1).spec

    assert (spec.dtype, spec.layout, spec.output_kind) == ("uint8", "nhwc", "uint8-scores")
    assert spec.input_grid == (1 / 128, 128)


def test_open_batch_is_resized_and_a_fixed_one_looped_with_equal_scores(tflite: Save):
    images = _images(5)
    looped, resized = (open_engine(tflite("uint8", batch), threads=1) for batch in (1, -1))

    assert np.array_equal(looped.infer(images), resized.infer(images))
    assert np.array_equal(looped.infer(images[:2]), resized.infer(images[:2]))
    assert looped.provenance()["batch"] == "loop over the file's batch of 1"
    assert resized.provenance()["batch"] == "resized"


def test_a_larger_fixed_batch_is_the_only_one_taken(tflite: Save):
    engine = open_engine(tflite("uint8", 4), threads=1)

    assert engine.spec.fixed_batch == 4
    assert engine.infer(_images(4)).shape == (4, 5)
    with pytest.raises(InputError, match="Expected a batch"):
        engine.infer(_images(3))


def test_provenance_names_the_delegate_or_its_absence(tflite_model: Path):
    default, builtin = (open_engine(f"{name}:{tflite_model}").provenance() for name in ("litert", "litert-builtin"))

    assert (default["delegate"], default["providers"]) == ("XNNPACK", ["XNNPACK delegate"])
    assert (builtin["delegate"], builtin["operators_delegated"]) == (None, "0 of 4")


def test_custom_operators_are_refused_before_the_runtime_sees_them(tflite: Save):
    with pytest.raises(UnsupportedError, match="custom operator 'Evil'"):
        open_engine(tflite("uint8", 1, "Evil"))


def test_a_file_that_is_no_tflite_is_refused(tmp_path: Path):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"nothing of the kind")

    with pytest.raises(InputError, match="lacks the mark TFL3"):
        open_engine(path)


def test_a_truncated_file_is_damaged(tflite_model: Path):
    tflite_model.write_bytes(tflite_model.read_bytes()[:900])

    with pytest.raises(InputError, match=r"damaged|cannot load"):
        open_engine(tflite_model)


def test_a_name_that_is_no_text_is_damage(tflite_model: Path):
    content = tflite_model.read_bytes()
    assert content.count(b"logits") == 1
    tflite_model.write_bytes(content.replace(b"logits", b"log\xe9ts"))

    with pytest.raises(InputError, match="is damaged"):
        open_engine(tflite_model)


def test_a_tensor_outside_the_file_is_refused(tflite_model: Path):
    source = read_source(tflite_model)
    from robustmq_trt.engines import litert_files

    broken = litert_files.Source(
        content=b"", sha256="", tensors=source.tensors[:2], operators=source.operators, inputs=(0,), outputs=(1,)
    )
    with pytest.raises(InputError, match="names tensor"):
        litert_files._check_indices(broken, tflite_model)


def test_simulation_and_zero_threads_are_refused(tflite_model: Path):
    with pytest.raises(UnsupportedError, match="no simulation"):
        LiteRtEngine.open(tflite_model, simulate=True)
    with pytest.raises(InputError, match="at least 1"):
        LiteRtEngine.open(tflite_model, threads=0)


def test_builtin_kernels_are_proven_integer_by_their_tensors(tflite_model: Path):
    audit = open_engine(f"litert-builtin:{tflite_model}").audit()

    assert audit.integer_coverage == 1.0
    assert audit.macs == 8 * 8 * 4 * 27 + 5 * 4
    assert [layer.operator for layer in audit.layers] == ["CONV_2D", "FULLY_CONNECTED"]


def test_what_the_delegate_hides_is_unprovable(tflite_model: Path):
    audit = open_engine(tflite_model).audit()
    layer = audit.layers[0]

    assert (layer.compute, layer.reason) == ("unknown", "unprovable: XNNPACK does not report its kernels")
    assert audit.integer_coverage == 0.0
    assert "litert-builtin" in audit.notes[0]


@pytest.mark.parametrize("prefix", ["litert", "litert-builtin"])
def test_a_float_file_is_float_under_either_kernels(tflite: Save, prefix: str):
    audit = open_engine(f"{prefix}:{tflite('float32')}").audit()

    assert {layer.compute for layer in audit.layers} == {"float"}
    assert "Operators on float tensors: MEAN 1, SOFTMAX 1." in audit.notes


@pytest.mark.realdata
def test_all_multiplying_layers_of_a_vendor_file_are_listed_with_their_work(realdata: Path):
    engine = open_engine(f"litert-builtin:{realdata}/models/mobilenet_v1_0.25_128_quant.tflite", threads=1)

    audit = engine.audit()

    assert (len(audit.layers), audit.macs, audit.integer_coverage) == (28, 13_570_304, 1.0)
    assert engine.spec.classes == 1001
