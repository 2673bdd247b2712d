"""The grids of 2-8 bits against a float model that rounds by itself, and against ONNX Runtime's integer kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as runtime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from robustmq_trt.core.codes import WeightCodes, codes_for, round_to_nearest
from robustmq_trt.core.errors import InputError
from robustmq_trt.core.precision import Precision
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.core.recipe import LayerRule, Recipe
from robustmq_trt.export.grid import activation_bits, to_grid
from robustmq_trt.export.lower import lower
from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantizable_tensors, quantize

RESIDUAL = """
net (float[N,3,8,8] image) => (float[N,5] logits) {
    c1 = Conv<pads=[1,1,1,1]>(image, w1, b1)
    r1 = Relu(c1)
    c2 = Conv<pads=[1,1,1,1]>(r1, w2, b2)
    s = Add(c2, r1)
    r2 = Relu(s)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r2)
    c3 = Conv(m, w3, b3)
    g = GlobalAveragePool(c3)
    f = Flatten(g)
    logits = Gemm<transB=1>(f, fw, fb)
}"""
SHAPES = {
    **{"w1": (6, 3, 3, 3), "b1": (6,), "w2": (6, 6, 3, 3), "b2": (6,), "w3": (7, 6, 1, 1), "b3": (7,)},
    **{"fw": (5, 7), "fb": (5,)},
}
WEIGHTS = ("w1", "w2", "w3", "fw")
BIASES = {"w1": "b1", "w2": "b2", "w3": "b3", "fw": "fb"}
INPUTS = {"w1": "image", "w2": "r1", "w3": "r2", "fw": "g"}  # the tensor whose scale each layer's input has


@pytest.fixture
def net(make_model) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    own = {name: (rng.normal(size=shape) * 0.4).astype(np.float32) for name, shape in SHAPES.items()}
    return prepare(make_model(RESIDUAL, own)).model


def batch(count: int = 64) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-1, 1, (count, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def ranges(net) -> RangeTable:
    found = with_outputs(net, quantizable_tensors(net))
    values = execute(found, batch(), optimize=False)
    pairs = {name: (float(value.min()), float(value.max())) for name, value in values.items()}
    return table(pairs | {"image": (-1.0, 1.0)})


def table(pairs: dict[str, tuple[float, float]]) -> RangeTable:
    return RangeTable(method="minmax", images=1, model_sha256="0" * 64, data_sha256="1" * 64, preset="x", ranges=pairs)


@pytest.fixture
def grid(net, ranges) -> Callable[..., onnx.ModelProto]:
    def make(precision: str, *, keep_ends: bool = False, weights: Any = None, **layers: LayerRule) -> onnx.ModelProto:
        recipe = Recipe(precision=Precision.parse(precision), keep_ends=keep_ends, layers=layers)
        return to_grid(
            quantize(net, ranges, keep_float=recipe.float_layers), net, ranges, recipe=recipe, weights=weights
        )

    return make


def with_outputs(model: onnx.ModelProto, names: Any) -> onnx.ModelProto:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    present = {entry.name for entry in (*probe.graph.output, *probe.graph.input)}
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in present)
    return probe


def execute(
    model: onnx.ModelProto, images: NDArray[np.float32], *, optimize: bool, optimized: Path | None = None
) -> dict[str, NDArray[Any]]:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: images}), strict=True))


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def kernels(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    execute(model, batch(1), optimize=True, optimized=folder / "optimized.onnx")
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


# An independent float model of the same grids: Div, Round, Clip, Mul; no Q, no DQ, nothing of the code under test


def step(low: float, high: float, bits: int) -> tuple[float, float, float]:
    """Scale, and the lowest and highest multiple of it, by hand."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    zero = round(-low / scale)
    return scale, -zero, 2**bits - 1 - zero


def fake_quantized(net: onnx.ModelProto, ranges: RangeTable, weight_bits: int, activation_bits: int) -> onnx.ModelProto:
    stored = constants(net)
    steps = {name: step(*pair, activation_bits) for name, pair in ranges.ranges.items()}
    for name in WEIGHTS:
        weight = stored[name].astype(np.float64)
        limit = 2 ** (weight_bits - 1) - 1
        scales = np.abs(weight).reshape(len(weight), -1).max(1) / limit
        shaped = scales.reshape(-1, *[1] * (weight.ndim - 1))
        stored[name] = np.rint(weight / shaped) * shaped
        unit = scales * steps[INPUTS[name]][0]
        stored[BIASES[name]] = np.rint(stored[BIASES[name]] / unit) * unit
    nodes, renamed = [], {}
    for source in ("image", *(node.output[0] for node in net.graph.node)):
        node = next((node for node in net.graph.node if node.output[0] == source), None)
        if node is not None:
            copy = helper.make_node(node.op_type, [renamed.get(n, n) for n in node.input], node.output)
            copy.attribute.extend(node.attribute)
            nodes.append(copy)
        if source in steps and source != "c1" and source != "s":  # Relu's input is not rounded
            nodes += rounding(source, steps[source], stored)
            renamed[source] = f"{source}_rounded"
    graph = helper.make_graph(
        nodes,
        "fake",
        list(net.graph.input),
        [helper.make_tensor_value_info("logits_rounded", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=list(net.opset_import), ir_version=8)


def rounding(name: str, grid: tuple[float, float, float], stored: dict[str, NDArray[Any]]) -> list[onnx.NodeProto]:
    for part, value in zip(("scale", "least", "most"), grid, strict=True):
        stored[f"{name}_{part}"] = np.float32(value)
    return [
        helper.make_node("Div", [name, f"{name}_scale"], [f"{name}_d"]),
        helper.make_node("Round", [f"{name}_d"], [f"{name}_r"]),
        helper.make_node("Clip", [f"{name}_r", f"{name}_least", f"{name}_most"], [f"{name}_c"]),
        helper.make_node("Mul", [f"{name}_c", f"{name}_scale"], [f"{name}_rounded"]),
    ]


@pytest.mark.parametrize("precision", ["w8a8", "w6a6", "w4a8", "w4a4", "w3a3", "w2a8", "w8a2"])
def test_the_file_computes_what_a_float_model_rounding_by_itself_computes(precision, net, ranges, grid, run_reference):
    made, bits = grid(precision), Precision.parse(precision)

    simulated = execute(made, batch(), optimize=False)["logits"]

    expected = run_reference(fake_quantized(net, ranges, bits.weights, bits.activations), batch())
    level = constants(made)["logits_scale"]
    # A sum on the edge between two levels may fall on either side in float; a level then moves, and what follows it.
    assert (np.abs(simulated - expected) <= 0.01 * level).mean() > 0.97
    assert np.abs(simulated - expected).max() <= 1.01 * level


@pytest.mark.parametrize("precision", ["w8a8", "w6a6", "w4a8", "w4a4", "w3a3", "w2a8", "w8a2"])
@pytest.mark.parametrize("keep_ends", [False, True])
def test_integer_kernels_compute_what_the_simulation_computes(precision, keep_ends, grid):
    made = grid(precision, keep_ends=keep_ends)

    integer = execute(made, batch(), optimize=True)["logits"]

    simulated = execute(made, batch(), optimize=False)["logits"]
    level = constants(made)["logits_scale"]
    assert (np.abs(integer - simulated) <= 0.01 * level).mean() > 0.97
    assert np.abs(integer - simulated).max() <= 1.01 * level


@pytest.mark.parametrize("precision", ["w8a8", "w4a8", "w4a4", "w2a2"])
def test_every_layer_and_every_add_runs_in_integer_kernels(precision, grid, tmp_path):
    found = kernels(grid(precision), tmp_path)

    assert (found["QLinearConv"], found["QLinearAdd"], found["QGemm"]) == (3, 1, 1)
    assert not found["Conv"] + found["Add"] + found["Gemm"] + found["Relu"]
    assert found["QuantizeLinear"] == found["DequantizeLinear"] == 1


def test_integer_clips_survive_the_optimizer_once_per_grid(grid, tmp_path):
    # image, r1, c2, r2, c3, g, logits; MaxPool and Flatten only carry what is on a grid already
    assert kernels(grid("w8a4"), tmp_path)["Clip"] == 7
    assert kernels(grid("w4a8"), tmp_path)["Clip"] == 0


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_no_activation_takes_more_values_than_its_grid_has_levels(bits, grid):
    made = grid(f"w8a{bits}")
    names = [n.output[0] for n in made.graph.node if n.op_type == "DequantizeLinear" and "_zero_point" in n.input[2]]

    values = execute(with_outputs(made, names), batch(), optimize=False)

    dequantized = [values[name] for name in names if values.get(name) is not None and values[name].shape[0] == 64]
    assert len(dequantized) >= 7
    # Rounding the zero point may leave the outermost level out of reach.
    assert max(len(np.unique(value)) for value in dequantized) in (2**bits - 1, 2**bits)


def test_weights_take_no_more_values_than_their_grid_has_levels(grid):
    stored = constants(grid("w3a8"))

    for name in WEIGHTS:
        assert np.abs(stored[f"{name}_quantized"]).max() == 3
        assert stored[f"{name}_quantized"].dtype == np.int8


def test_an_8_bit_recipe_gives_the_8_bit_file_back(net, ranges, grid):
    made, quantized = grid("w8a8"), quantize(net, ranges)

    assert list(made.graph.node) == list(quantized.graph.node)
    assert {name: value.tobytes() for name, value in constants(made).items()} == {
        name: value.tobytes() for name, value in constants(quantized).items()
    }


def test_bias_scales_are_those_of_input_times_weight(grid):
    stored = constants(grid("w4a4"))

    for weight, bias in BIASES.items():
        expected = stored[f"{INPUTS[weight]}_scale"] * stored[f"{weight}_scale"]
        np.testing.assert_array_equal(stored[f"{bias}_quantized_scale"], expected)


def test_tensors_that_shared_a_scale_still_do(net, ranges, grid):
    def scales(model: onnx.ModelProto) -> dict[str, str]:
        return {n.name: n.input[1] for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")}

    assert scales(grid("w4a4")) == scales(quantize(net, ranges))


def test_with_kept_ends_image_first_and_last_layer_and_logits_stay_on_8_bits(net, ranges, grid):
    made, before = constants(grid("w4a4", keep_ends=True)), constants(quantize(net, ranges))

    same = {name for name in before if np.array_equal(before[name], made[name])}
    assert {"image_scale", "w1_quantized", "g_scale", "fw_quantized", "fb_quantized", "logits_scale"} <= same
    assert not {"r1_scale", "w2_quantized", "r2_scale", "w3_quantized", "c3_scale"} & same


def test_a_layers_own_bits_reach_its_weights_and_its_input(net, ranges, grid):
    (second,) = (node.name for node in net.graph.node if node.output[0] == "c2")

    made = constants(grid("w4a4", **{second: LayerRule(weights=8, activations=6)}))

    before = constants(quantize(net, ranges))
    np.testing.assert_array_equal(made["w2_quantized"], before["w2_quantized"])
    assert made["r1_scale"] == np.float32(ranges.ranges["r1"][1] / 63)
    assert made["r2_scale"] == np.float32(ranges.ranges["r2"][1] / 15)


def test_activation_bits_name_every_grid(net, ranges):
    recipe = Recipe(precision=Precision.parse("w4a3"))

    found = activation_bits(quantize(net, ranges), net, recipe)

    assert found == {"image": 8, "r1": 3, "c2": 3, "r2": 3, "c3": 3, "g": 8, "logits": 8}


def test_a_float_layer_reads_float_weights_and_the_rest_its_grid(net, grid):
    (second,) = (node.name for node in net.graph.node if node.output[0] == "c2")

    made = constants(grid("w4a4", **{second: LayerRule(keep_float=True)}))

    np.testing.assert_array_equal(made["w2"], constants(net)["w2"])
    assert np.abs(made["w3_quantized"]).max() == 7


def test_what_only_float_layers_read_keeps_the_scales_of_8_bits(net, ranges, grid):
    names = [node.name for node in net.graph.node if node.op_type in ("Conv", "Gemm")]
    plain = quantize(net, ranges, keep_float=names)

    narrow = constants(grid("w4a8", **{name: LayerRule(keep_float=True) for name in names}))

    for name, value in constants(plain).items():
        np.testing.assert_array_equal(narrow[name], value)


def test_given_codes_are_what_the_file_holds(net, grid):
    codes = codes_for(constants(net)["w2"], np.full(6, 0.1, np.float32), 4, 0)

    made = constants(grid("w4a8", weights={"w2": codes}))

    np.testing.assert_array_equal(made["w2_quantized"], codes.codes)
    np.testing.assert_array_equal(made["w2_scale"], codes.scales)
    np.testing.assert_array_equal(made["w3_quantized"], round_to_nearest(constants(net)["w3"], 4, 0).codes)


def test_corrected_biases_of_the_float_model_reach_the_file(net, ranges):
    corrected = onnx.ModelProto()
    corrected.CopyFrom(net)
    (bias,) = (tensor for tensor in corrected.graph.initializer if tensor.name == "b2")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.5), "b2"))

    made = to_grid(quantize(net, ranges), corrected, ranges, recipe=Recipe(precision=Precision.parse("w4a4")))

    stored = constants(made)
    held = stored["b2_quantized"] * stored["b2_quantized_scale"]
    np.testing.assert_allclose(held, numpy_helper.to_array(bias), atol=stored["b2_quantized_scale"].max())


def test_a_channel_too_small_for_its_bias_in_int32_gets_a_wider_scale(net, ranges):
    tiny = onnx.ModelProto()
    tiny.CopyFrom(net)
    for tensor in tiny.graph.initializer:
        if tensor.name == "w2":
            weight = numpy_helper.to_array(tensor).copy()
            weight[3] *= 1e-20
            tensor.CopyFrom(numpy_helper.from_array(weight, "w2"))

    made = to_grid(quantize(tiny, ranges), tiny, ranges, recipe=Recipe(precision=Precision.parse("w4a4")))

    stored = constants(made)
    held = stored["b2_quantized"] * stored["b2_quantized_scale"].astype(np.float64)
    np.testing.assert_allclose(held[3], constants(tiny)["b2"][3], rtol=1e-6)
    assert not stored["w2_quantized"][3].any()


def test_the_file_says_which_grid_it_is_on(grid):
    facts = {entry.key: entry.value for entry in grid("w4a8", keep_ends=True).metadata_props}

    assert facts["robustmq.precision"] == "w4a8"
    assert facts["robustmq.grid"] == (
        "4-bit weights, 8-bit activations: a 4-bit grid in int8 kernels; first and last layer 8 bits"
    )


def test_neither_input_is_changed(net, ranges):
    quantized = quantize(net, ranges)
    before = [model.SerializeToString(deterministic=True) for model in (net, quantized)]

    to_grid(quantized, net, ranges, recipe=Recipe(precision=Precision.parse("w4a4")))

    assert [model.SerializeToString(deterministic=True) for model in (net, quantized)] == before


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ({"w9": ((6, 6, 3, 3), 0, 4)}, "Unknown weight 'w9'"),
        ({"w2": ((6, 6, 3, 3), 0, 3)}, "codes of 4 bits.*got 3 bits"),
        ({"w2": ((6, 6, 3, 3), 1, 4)}, "axis 0.*got.*axis 1"),
        ({"w2": ((6, 6, 1, 1), 0, 4)}, "shape"),
    ],
)
def test_codes_that_do_not_fit_are_refused(codes, message, grid):
    made = {
        name: WeightCodes(codes=np.zeros(shape, np.int8), scales=np.ones(shape[axis], np.float32), axis=axis, bits=bits)
        for name, (shape, axis, bits) in codes.items()
    }

    with pytest.raises(InputError, match=message):
        grid("w4a8", weights=made)


def test_a_grid_on_a_grid_is_refused(net, ranges, grid):
    with pytest.raises(InputError, match="narrower grid already"):
        to_grid(grid("w4a4"), net, ranges, recipe=Recipe(precision=Precision.parse("w3a3")))


def test_a_missing_range_is_said_by_its_tensor(net, ranges):
    lacking = table({name: pair for name, pair in ranges.ranges.items() if name != "r1"})

    with pytest.raises(InputError, match="lacks tensor 'r1'"):
        to_grid(quantize(net, ranges), net, lacking, recipe=Recipe(precision=Precision.parse("w4a4")))


@pytest.mark.parametrize("precision", ["w4a8", "w4a4", "w3a3"])
def test_the_signed_profile_takes_grids_too_and_lowers_exactly(precision, net, ranges, tmp_path):
    recipe = Recipe(precision=Precision.parse(precision), keep_ends=False)
    signed = to_grid(quantize(net, ranges, profile="trt-s8"), net, ranges, recipe=recipe)

    lowered = lower(signed)

    assert lowered.notes == ()
    expected = execute(signed, batch(), optimize=False)["logits"]
    np.testing.assert_array_equal(execute(lowered.model, batch(), optimize=False)["logits"], expected)
    assert len(np.unique(expected)) <= 2**recipe.precision.activations - 1
    found = kernels(lowered.model, tmp_path)
    assert (found["QLinearConv"], found["QLinearAdd"], found["QGemm"]) == (3, 1, 1)


@pytest.mark.parametrize("precision", ["w8a8", "w4a8", "w4a4"])
def test_float_biases_are_steps_of_the_integer_sum_below_8_bits_only(precision, net, ranges):
    recipe = Recipe(precision=Precision.parse(precision), keep_ends=False)

    stored = constants(to_grid(quantize(net, ranges, profile="trt-s8"), net, ranges, recipe=recipe))

    for weight, bias in BIASES.items():
        unit = stored[f"{INPUTS[weight]}_scale"].astype(np.float64) * stored[f"{weight}_scale"]
        exact = constants(net)[bias]
        expected = exact if precision == "w8a8" else np.float32(np.rint(exact / unit) * unit)
        np.testing.assert_allclose(stored[bias], expected, rtol=1e-6)


@pytest.mark.realdata
@pytest.mark.parametrize("profile", ["cpu-u8", "trt-s8"])
def test_resnet20_on_4_bits_names_the_same_classes_in_integers_and_in_simulation(realdata, profile):
    net = prepare(read_model(realdata / "models" / "resnet20_cifar10_float.onnx")).model
    images = np.random.default_rng(0).normal(size=(128, 3, 32, 32)).astype(np.float32)
    values = execute(with_outputs(net, quantizable_tensors(net)), images[:32], optimize=False)
    ranges = table({name: (float(v.min()), float(v.max())) for name, v in values.items()} | {"input": (-4.0, 4.0)})

    recipe = Recipe(precision=Precision.parse("w4a4"))
    made = lower(to_grid(quantize(net, ranges, profile=profile), net, ranges, recipe=recipe)).model

    integer = execute(made, images, optimize=True)["logits"].argmax(1)
    simulated = execute(made, images, optimize=False)["logits"].argmax(1)
    assert (integer != simulated).sum() <= 1
