"""The grids of 2-8 bits against a float model that rounds by itself, and against ONNX Runtime's integer kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from robustmq_trt.core.precision import Precision
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.core.recipe import Recipe
from robustmq_trt.export.grid import to_grid
from robustmq_trt.export.lower import lower
from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantizable_tensors, quantize

WEIGHTS = ("w1", "w2", "w3", "fw")
BIASES = {"w1": "b1", "w2": "b2", "w3": "b3", "fw": "fb"}
INPUTS = {"w1": "image", "w2": "r1", "w3": "r2", "fw": "g"}  # the tensor whose scale each layer's input has


def batch(count: int = 64) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-1, 1, (count, 3, 8, 8)).astype(np.float32)


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def kernels(run_ort: Callable[..., Any], model: onnx.ModelProto, folder: Path) -> Counter[str]:
    run_ort(model, batch(1), optimized=str(folder / "optimized.onnx"))
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
def test_the_file_computes_what_a_float_model_rounding_by_itself_computes(
    precision, net, ranges, grid, run_reference, run_ort
):
    made, bits = grid(precision), Precision.parse(precision)

    simulated = run_ort(made, batch(), optimize=False)

    expected = run_reference(fake_quantized(net, ranges, bits.weights, bits.activations), batch())
    level = constants(made)["logits_scale"]
    # A sum on the edge between two levels may fall on either side in float; a level then moves, and what follows it.
    assert (np.abs(simulated - expected) <= 0.01 * level).mean() > 0.97
    assert np.abs(simulated - expected).max() <= 1.01 * level


@pytest.mark.parametrize("precision", ["w8a8", "w6a6", "w4a8", "w4a4", "w3a3", "w2a8", "w8a2"])
@pytest.mark.parametrize("keep_ends", [False, True])
def test_integer_kernels_compute_what_the_simulation_computes(precision, keep_ends, grid, run_ort):
    made = grid(precision, keep_ends=keep_ends)

    integer = run_ort(made, batch())

    simulated = run_ort(made, batch(), optimize=False)
    level = constants(made)["logits_scale"]
    assert (np.abs(integer - simulated) <= 0.01 * level).mean() > 0.97
    assert np.abs(integer - simulated).max() <= 1.01 * level


@pytest.mark.parametrize("precision", ["w8a8", "w4a8", "w4a4", "w2a2"])
def test_every_layer_and_every_add_runs_in_integer_kernels(precision, grid, tmp_path, run_ort):
    found = kernels(run_ort, grid(precision), tmp_path)

    assert (found["QLinearConv"], found["QLinearAdd"], found["QGemm"]) == (3, 1, 1)
    assert not found["Conv"] + found["Add"] + found["Gemm"] + found["Relu"]
    assert found["QuantizeLinear"] == found["DequantizeLinear"] == 1


def test_integer_clips_survive_the_optimizer_once_per_grid(grid, tmp_path, run_ort):
    # image, r1, c2, r2, c3, g, logits; MaxPool and Flatten only carry what is on a grid already
    assert kernels(run_ort, grid("w8a4"), tmp_path)["Clip"] == 7
    assert kernels(run_ort, grid("w4a8"), tmp_path)["Clip"] == 0


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_no_activation_takes_more_values_than_its_grid_has_levels(bits, grid, inner_values):
    made = grid(f"w8a{bits}")
    names = [n.output[0] for n in made.graph.node if n.op_type == "DequantizeLinear" and "_zero_point" in n.input[2]]

    values = inner_values(made, names, batch())

    dequantized = [values[name] for name in names if values.get(name) is not None and values[name].shape[0] == 64]
    assert len(dequantized) >= 7
    # Rounding the zero point may leave the outermost level out of reach.
    assert max(len(np.unique(value)) for value in dequantized) in (2**bits - 1, 2**bits)


def test_weights_take_no_more_values_than_their_grid_has_levels(grid):
    stored = constants(grid("w3a8"))

    for name in WEIGHTS:
        assert np.abs(stored[f"{name}_quantized"]).max() == 3
        assert stored[f"{name}_quantized"].dtype == np.int8


def test_bias_scales_are_those_of_input_times_weight(grid):
    stored = constants(grid("w4a4"))

    for weight, bias in BIASES.items():
        expected = stored[f"{INPUTS[weight]}_scale"] * stored[f"{weight}_scale"]
        np.testing.assert_array_equal(stored[f"{bias}_quantized_scale"], expected)


@pytest.mark.parametrize("precision", ["w4a8", "w4a4", "w3a3"])
def test_the_signed_profile_takes_grids_too_and_lowers_exactly(precision, net, ranges, tmp_path, run_ort):
    recipe = Recipe(precision=Precision.parse(precision), keep_ends=False)
    signed = to_grid(quantize(net, ranges, profile="trt-s8"), net, ranges, recipe=recipe)

    lowered = lower(signed)

    assert lowered.notes == ()
    expected = run_ort(signed, batch(), optimize=False)
    np.testing.assert_array_equal(run_ort(lowered.model, batch(), optimize=False), expected)
    assert len(np.unique(expected)) <= 2**recipe.precision.activations - 1
    found = kernels(run_ort, lowered.model, tmp_path)
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
def test_resnet20_on_4_bits_names_the_same_classes_in_integers_and_in_simulation(
    realdata, profile, ranges, run_ort, inner_values
):
    net = prepare(read_model(realdata / "models" / "resnet20_cifar10_float.onnx")).model
    images = np.random.default_rng(0).normal(size=(128, 3, 32, 32)).astype(np.float32)
    values = inner_values(net, quantizable_tensors(net), images[:32])
    ranges = replace(
        ranges, ranges={name: (float(v.min()), float(v.max())) for name, v in values.items()} | {"input": (-4.0, 4.0)}
    )

    recipe = Recipe(precision=Precision.parse("w4a4"))
    made = lower(to_grid(quantize(net, ranges, profile=profile), net, ranges, recipe=recipe)).model

    integer = run_ort(made, images).argmax(1)
    simulated = run_ort(made, images, optimize=False).argmax(1)
    assert (integer != simulated).sum() <= 1
