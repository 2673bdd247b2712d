"""What a file on a grid holds: scales, codes and biases by recipe, what is said of them, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from robustmq_trt.core.codes import WeightCodes, codes_for, round_to_nearest
from robustmq_trt.core.errors import InputError
from robustmq_trt.core.precision import Precision
from robustmq_trt.core.recipe import LayerRule, Recipe
from robustmq_trt.export.grid import activation_bits, to_grid
from robustmq_trt.export.qdq import quantize


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_an_8_bit_recipe_gives_the_8_bit_file_back(net, ranges, grid):
    made, quantized = grid("w8a8"), quantize(net, ranges)

    assert list(made.graph.node) == list(quantized.graph.node)
    assert {name: value.tobytes() for name, value in constants(made).items()} == {
        name: value.tobytes() for name, value in constants(quantized).items()
    }


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
    lacking = replace(ranges, ranges={name: pair for name, pair in ranges.ranges.items() if name != "r1"})

    with pytest.raises(InputError, match="lacks tensor 'r1'"):
        to_grid(quantize(net, ranges), net, lacking, recipe=Recipe(precision=Precision.parse("w4a4")))
