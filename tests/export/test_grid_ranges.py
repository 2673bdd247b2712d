import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.quantization import quant_utils

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.export.grid_ranges import asymmetric_step, effective_ranges, symmetric_step

BOUND = st.floats(-1e4, 1e4, width=32)


def table(ranges):
    return RangeTable(method="minmax", images=1, model_sha256="0" * 64, data_sha256="1" * 64, preset="x", ranges=ranges)


@given(BOUND, BOUND, st.integers(2, 8))
def test_scale_and_zero_point_equal_onnxruntimes_rule_on_any_number_of_levels(a, b, bits):
    low, high = np.float32(min(a, b)), np.float32(max(a, b))

    found = asymmetric_step(float(low), float(high), bits)

    top = np.array(2**bits - 1, np.uint8)
    zero, scale = quant_utils.compute_scale_zp(np.array(low), np.array(high), np.array(0, np.uint8), top)
    assert (found.scale, found.zero) == (np.float32(scale), int(zero))
    assert (found.lowest, found.highest) == (0, int(top))


@given(BOUND, BOUND, st.integers(2, 8))
def test_symmetric_scales_equal_onnxruntimes_rule_on_any_number_of_levels(a, b, bits):
    low, high = np.float32(min(a, b)), np.float32(max(a, b))

    found = symmetric_step(float(low), float(high), bits)

    top = np.array(2 ** (bits - 1) - 1, np.int8)
    zero, scale = quant_utils.compute_scale_zp(np.array(low), np.array(high), -top, top, symmetric=True)
    assert (found.scale, found.zero) == (np.float32(scale), int(zero))


def test_four_bits_over_a_range_of_fifteen_step_by_one():
    found = asymmetric_step(-3.0, 12.0, 4)

    assert (found.scale, found.zero, found.highest) == (1.0, 3, 15)


def test_a_tensor_that_never_fires_gets_scale_one():
    assert asymmetric_step(0.0, 0.0, 4).scale == 1.0
    assert symmetric_step(0.0, 0.0, 4).scale == 1.0


def test_ranges_are_those_behind_relu_clip_and_softmax(make_model):
    model = make_model(
        """
net (float[N,3] image) => (float[N,3] y) <float lo = {-1}, float hi = {6}> {
    a = Neg(image)
    b = Relu(a)
    c = Neg(b)
    d = Clip(c, lo, hi)
    e = Neg(d)
    y = Softmax(e)
}"""
    )
    given = {"image": (-1.0, 1.0), "a": (-5.0, 2.0), "b": (-0.1, 2.0), "c": (-9.0, 9.0), "d": (-9.0, 9.0)}

    found = effective_ranges(model, table(given | {"e": (-1.0, 3.0), "y": (0.1, 0.2)}))

    assert found == {
        "image": (-1.0, 1.0),
        "a": (0.0, 2.0),
        "b": (0.0, 2.0),
        "c": (-1.0, 6.0),
        "d": (-1.0, 6.0),
        "e": (-1.0, 3.0),
        "y": (0.0, 1.0),
    }


@pytest.mark.parametrize("pair", [(1.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused_by_its_tensors_name(make_net, pair):
    with pytest.raises(InputError, match="tensor 'r'"):
        effective_ranges(make_net("conv_bn"), table({"r": pair}))
