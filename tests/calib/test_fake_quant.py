"""The simulated grid against the grid written out in numpy."""

import numpy as np
import onnx
import onnx.parser
import pytest

from robustmq_trt.calib.fake_quant import Grid, grid_tensors, on_grids, with_weights
from robustmq_trt.calib.layers import initializer
from robustmq_trt.calib.prefix import runner
from robustmq_trt.core.codes import round_to_nearest
from robustmq_trt.core.errors import InputError

IDENTITY = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N,4] x) => (float[N,4] y) { y = Neg (x) }"""


@pytest.mark.parametrize("bits", [2, 3, 4, 7, 8])
@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (-1.0, 2.0), (-4.0, 0.0), (0.5, 2.0)])
def test_values_are_rounded_to_two_to_the_bits_levels(rng, bits, low, high):
    grid = Grid(low=low, high=high, bits=bits)
    x = rng.normal(scale=3, size=(10_000, 4)).astype(np.float32)

    seen = -runner(on_grids(onnx.parser.parse_model(IDENTITY), {"x": grid}), "y")(x)

    step = np.float32((max(high, 0) - min(low, 0)) / (2**bits - 1))
    zero = np.rint(-min(low, 0) / step)
    expected = (np.clip(np.rint(x / step) + zero, 0, 2**bits - 1) - zero) * step
    near_tie = np.abs(x / step - np.floor(x / step) - 0.5) < 1e-4
    np.testing.assert_allclose(seen[~near_tie], expected[~near_tie], atol=1e-6)
    assert len(np.unique(seen)) == 2**bits
    assert 0 in expected


def test_weights_take_the_values_of_their_codes(layered_model):
    codes = round_to_nearest(initializer(layered_model, "w1"), 3, 0)

    model = with_weights(layered_model, {"w1": codes})

    np.testing.assert_array_equal(initializer(model, "w1"), codes.values())
    np.testing.assert_array_equal(initializer(model, "w2"), initializer(layered_model, "w2"))


def test_tensors_before_relu_and_behind_flatten_share_a_grid(layered_model):
    assert grid_tensors(layered_model) == ("x", "h", "e", "q", "m", "logits")


def test_a_grid_that_does_not_exist_is_refused(layered_model):
    with pytest.raises(InputError, match="'h'"):
        on_grids(layered_model, {"h": Grid(low=0, high=1, bits=9)})
    with pytest.raises(InputError, match="'h'"):
        on_grids(layered_model, {"h": Grid(low=2, high=1, bits=8)})
