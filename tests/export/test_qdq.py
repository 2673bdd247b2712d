from __future__ import annotations

import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as runtime
import pytest
from onnx import numpy_helper

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.export.onnx_file import check_model, read_model, write_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantizable_tensors, quantize
from robustmq_trt.export.signature import classifier_signature


def observe(model: onnx.ModelProto, batch: np.ndarray) -> dict[str, tuple[float, float]]:
    """Take minimum and maximum of every float activation over one batch, by running the graph."""
    probe = onnx.shape_inference.infer_shapes(model)
    stored = {tensor.name for tensor in probe.graph.initializer}
    known = {entry.name: entry for entry in (*probe.graph.value_info, *probe.graph.output)}
    names = [name for node in probe.graph.node for name in node.output]
    outputs = [known[name] for name in names if known[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    del probe.graph.output[:]
    probe.graph.output.extend(entry for entry in outputs if entry.name not in stored)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(probe.SerializeToString(), options)
    image = session.get_inputs()[0].name
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {image: batch}), strict=True))
    found[image] = batch
    return {name: (float(value.min()), float(value.max())) for name, value in found.items()}


def table(ranges: dict[str, tuple[float, float]]) -> RangeTable:
    return RangeTable(
        method="min-max", images=4, model_sha256="0" * 64, data_sha256="1" * 64, preset="x", ranges=ranges
    )


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.fixture
def quantized(make_net, images):
    model = prepare(make_net("conv_bn")).model
    return quantize(model, table(observe(model, images(model, 8))))


def test_weights_are_int8_per_channel_and_activations_uint8_per_tensor(quantized):
    stored = constants(quantized)

    assert stored["image_zero_point"].dtype == np.uint8
    assert stored["image_scale"].shape == ()
    (weight,) = (value for name, value in stored.items() if value.ndim == 4)
    assert weight.dtype == np.int8
    assert weight.min() >= -127
    (scales,) = (v for n, v in stored.items() if n.endswith("w_folded_scale"))
    assert scales.shape == (6,)


def test_the_file_is_valid_and_says_where_it_comes_from(quantized):
    check_model(quantized)

    facts = {entry.key: entry.value for entry in quantized.metadata_props}
    assert facts["robustmq.profile"] == "cpu-u8"
    assert facts["robustmq.precision"] == "w8a8"
    assert facts["robustmq.calibration"] == "min-max over 4 images"
    assert len(facts["robustmq.source_sha256"]) == 64
    assert quantized.ir_version <= 10


def test_quantizing_keeps_the_signature(quantized, make_net):
    assert classifier_signature(quantized) == classifier_signature(make_net("conv_bn"))


def test_scales_follow_from_the_ranges_by_hand(make_net, images):
    model = prepare(make_net("conv_bn")).model
    ranges = observe(model, images(model, 8)) | {"image": (-0.5, 2.05)}

    stored = constants(quantize(model, table(ranges)))

    assert stored["image_scale"] == pytest.approx(2.55 / 255)
    assert stored["image_zero_point"] == 50


def test_quantize_does_not_change_the_float_model(make_net, images):
    model = prepare(make_net("conv_bn")).model
    before = model.SerializeToString(deterministic=True)

    quantize(model, table(observe(model, images(model, 8))))

    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", ["conv_bn", "softmax", "nhwc", "fixed_reshape", "shape_chain"])
def test_quantized_nets_stay_close_to_the_float_ones(name, make_net, images, run_ort, run_reference):
    model = prepare(make_net(name)).model
    batch = images(model, 8)

    result = quantize(model, table(observe(model, batch)))

    expected = run_reference(model, batch)
    bound = 0.06 * np.abs(expected).max()
    np.testing.assert_allclose(run_ort(result, batch), expected, rtol=0, atol=bound)
    result.opset_import[0].version = 21  # the reference knows DequantizeLinear from 19 on; its meaning is the same
    np.testing.assert_allclose(run_reference(result, batch), expected, rtol=0, atol=bound)


def test_only_the_tensors_asked_for_are_needed_and_all_of_them(make_net, images):
    model = prepare(make_net("conv_bn")).model
    ranges = observe(model, images(model, 8))
    names = quantizable_tensors(model)

    result = quantize(model, table({name: ranges[name] for name in names}))

    assert result == quantize(model, table(ranges))
    for name in names:
        with pytest.raises(InputError, match=f"lacks 1 of {len(names)} tensors: '{name}'"):
            quantize(model, table({other: ranges[other] for other in names if other != name}))


def test_a_convolution_clipped_by_its_relu_needs_no_range_of_its_own(make_net):
    model = prepare(make_net("conv_bn")).model

    convolution = next(node.output[0] for node in model.graph.node if node.op_type == "Conv")

    assert quantizable_tensors(model) == ("image", "r", "g", "logits")
    assert convolution not in quantizable_tensors(model)


@pytest.mark.parametrize("pair", [(0.0, float("inf")), (float("nan"), 1.0), (2.0, 1.0)])
def test_a_range_that_is_none_is_refused(pair, make_net, images):
    model = prepare(make_net("conv_bn")).model

    with pytest.raises(InputError, match="range of tensor 'image'"):
        quantize(model, table(observe(model, images(model, 8)) | {"image": pair}))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(value, make_net, images):
    model = prepare(make_net("conv_bn")).model
    ranges = observe(model, images(model, 8))
    broken = numpy_helper.to_array(model.graph.initializer[0]).copy()
    broken.flat[0] = value
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(broken, model.graph.initializer[0].name))

    with pytest.raises(InputError, match="not finite"):
        quantize(model, table(ranges))


def test_a_relu_stays_a_relu_even_when_its_range_says_otherwise(make_net, images, run_reference):
    model = prepare(make_net("conv_bn")).model
    ranges = observe(model, images(model, 8))

    result = quantize(model, table(ranges | {"r": (-5.0, ranges["r"][1])}))

    assert constants(result)["r_zero_point"] == 0


CLIPS = {
    "saturation does it": ("float lo = {0.0}, float hi = {1.0}", 0),
    "the lower bound is above zero": ("float lo = {0.5}, float hi = {1.0}", 1),
}


@pytest.mark.parametrize(("bounds", "kept"), CLIPS.values(), ids=CLIPS.keys())
def test_a_clip_is_left_to_saturation_only_where_that_is_the_same(
    bounds, kept, make_model, images, run_ort, run_reference
):
    model = prepare(
        make_model(f"""
    net (float[N,3,8,8] image) => (float[N,5] logits) <{bounds}> {{
        c = Conv(image, w)
        r = Clip(c, lo, hi)
        g = GlobalAveragePool(r)
        f = Flatten(g)
        logits = Gemm<transB=1>(f, fw, fb)
    }}""")
    ).model
    batch = images(model, 8)

    result = quantize(model, table(observe(model, batch)))

    expected = run_reference(model, batch)
    assert operators(result)["Clip"] == kept
    np.testing.assert_allclose(run_ort(result, batch), expected, rtol=0, atol=0.03 * np.abs(expected).max())


def test_a_batchnorm_before_its_convolution_runs_in_integers_too(make_model, images, run_ort, run_reference, tmp_path):
    model = prepare(
        make_model("""
    net (float[N,3,8,8] image) => (float[N,5] logits) {
        c = Conv(image, w)
        r = Relu(c)
        n = BatchNormalization(r, gamma, beta, mean, var)
        q = Relu(n)
        d = Add(q, r)
        g = GlobalAveragePool(d)
        f = Flatten(g)
        logits = Gemm<transB=1>(f, fw, fb)
    }""")
    ).model
    batch = images(model, 8)

    result = quantize(model, table(observe(model, batch)))

    got = run_ort(result, batch, optimized=str(tmp_path / "optimized.onnx"))
    expected = run_reference(model, batch)
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.03 * np.abs(expected).max())
    kinds = operators(onnx.load(str(tmp_path / "optimized.onnx")))
    assert kinds["QLinearConv"] == 2
    assert not {"Conv", "BatchNormalization"} & kinds.keys()


def test_the_softmax_at_the_output_stays_in_float(make_net, images, run_ort):
    model = prepare(make_net("softmax")).model
    batch = images(model, 8)

    result = quantize(model, table(observe(model, batch)))

    np.testing.assert_allclose(run_ort(result, batch).sum(axis=1), 1.0, rtol=1e-5)
    assert "probabilities" not in quantizable_tensors(model)


def test_a_quantized_model_is_not_quantized_again(quantized):
    with pytest.raises(InputError, match="quantized already"):
        quantize(quantized, table({}))


@pytest.mark.parametrize("precision", ["w4a8", "w4a4", "w8a8x"])
def test_other_precisions_name_what_is_available(precision, make_net):
    with pytest.raises(UnsupportedError, match=f"'{precision}' is not available.*Available: w8a8"):
        quantize(make_net("conv_bn"), table({}), precision=precision)


def test_an_unknown_profile_is_named(make_net):
    with pytest.raises(InputError, match=r"Unknown profile 'cpu-u9'\. Did you mean 'cpu-u8'"):
        quantize(make_net("conv_bn"), table({}), profile="cpu-u9")


def test_without_onnxruntime_the_install_line_is_given(make_net, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime.quantization", None)

    with pytest.raises(UnsupportedError, match=r"pip install 'robustmq-trt\[cpu\]'"):
        quantizable_tensors(prepare(make_net("conv_bn")).model)


def test_quantizing_is_quiet_and_leaves_logging_and_folders_alone(make_net, images, capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = logging.getLogger()
    before = (list(root.handlers), list(root.filters), root.level)
    model = prepare(make_net("conv_bn")).model

    quantize(model, table(observe(model, images(model, 8))))

    assert capfd.readouterr() == ("", "")
    assert (list(root.handlers), list(root.filters), root.level) == before
    assert list(tmp_path.iterdir()) == []


def theirs(model: onnx.ModelProto, batch: np.ndarray, folder: Path, excluded: list[str]) -> onnx.ModelProto:
    """Quantize with onnxruntime's own min-max calibration and the same flags."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = iter([{model.graph.input[0].name: batch}])

        def get_next(self) -> Any:
            return next(self.left, None)

    write_model(model, folder / "float.onnx")
    quantization.quantize_static(
        str(folder / "float.onnx"),
        str(folder / "int8.onnx"),
        Reader(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=excluded,
    )
    return onnx.load(str(folder / "int8.onnx"))


def assert_same_constants(ours: onnx.ModelProto, reference: onnx.ModelProto) -> None:
    mine, wanted = constants(ours), constants(reference)
    assert mine.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(mine[name], value, err_msg=name)


@pytest.mark.parametrize("name", ["conv_bn", "softmax", "nhwc"])
def test_with_equal_ranges_every_scale_equals_quantize_statics(name, make_net, images, tmp_path):
    model = prepare(make_net(name)).model
    batch = images(model, 8)
    excluded = [node.name for node in model.graph.node if node.op_type == "Softmax"]

    ours = quantize(model, table(observe(model, batch)))

    assert_same_constants(ours, theirs(model, batch, tmp_path, excluded))


@pytest.mark.realdata
def test_on_resnet20_every_scale_equals_quantize_statics(realdata, images, tmp_path):
    model = prepare(read_model(realdata / "models/resnet20_cifar10_float.onnx")).model
    batch = images(model, 8)

    ours = quantize(model, table(observe(model, batch)))

    assert_same_constants(ours, theirs(model, batch, tmp_path, []))


FUSED = {
    "resnet20_cifar10_float": {"QLinearConv": 19, "QLinearAdd": 9, "QGemm": 1},
    "mobilenet_v2_float": {"QLinearConv": 53, "QLinearAdd": 10},
}


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "fused"), FUSED.items())
def test_real_models_fuse_fully_into_integer_kernels(name, fused, realdata, images, run_ort, tmp_path):
    model = prepare(read_model(realdata / f"models/{name}.onnx")).model
    batch = images(model, 4)

    result = quantize(model, table(observe(model, batch)))

    run_ort(result, batch, optimized=str(tmp_path / "optimized.onnx"))
    kinds = operators(onnx.load(str(tmp_path / "optimized.onnx")))
    assert {kind: kinds[kind] for kind in fused} == fused
    assert not {"Conv", "Clip", "Relu", "Gemm", "Add", "MatMul", "GlobalAveragePool"} & kinds.keys()


def test_a_node_kept_in_float_reads_float_weights(make_net, images):
    model = prepare(make_net("conv_bn")).model
    (head,) = (node.name for node in model.graph.node if node.op_type == "Gemm")

    result = quantize(model, table(observe(model, images(model, 8))), keep_float=[head])

    (node,) = (node for node in result.graph.node if node.op_type == "Gemm")
    assert constants(result)[node.input[1]].dtype == np.float32
    assert operators(result)["Conv"] == 1
    assert any(value.dtype == np.int8 and value.ndim == 4 for value in constants(result).values())


def test_keeping_a_node_in_float_that_is_not_there_is_refused(make_net, images):
    model = prepare(make_net("conv_bn")).model

    with pytest.raises(InputError, match="Unknown layer 'conv9'"):
        quantize(model, table(observe(model, images(model, 8))), keep_float=["conv9"])
