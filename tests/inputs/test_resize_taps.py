from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from robustmq_trt.inputs.resize_taps import COORDINATES, KERNELS, Sampling, axis_taps

ONNX_COORDINATES = {"align-corners": "align_corners", "asymmetric": "asymmetric", "half-pixel": "half_pixel"}
SIZES = [(10, 7), (7, 10), (12, 4), (1, 3), (3, 3), (40, 9)]


def matrix(sampling: Sampling, source: int, outputs: int) -> np.ndarray:
    taps = axis_taps(sampling, source, outputs)
    dense = np.zeros((outputs, source))
    rows = np.arange(outputs)[:, None]
    dense[rows, taps.first[:, None] + np.arange(taps.weights.shape[1])] = taps.weights
    return dense


def by_onnx(source: int, outputs: int, **attributes: object) -> np.ndarray:
    """Resample each unit impulse with ONNX's reference implementation of Resize."""
    sizes = numpy_helper.from_array(np.array([source, outputs], np.int64), "sizes")
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [source, None]) for name in "xy"]
    graph = helper.make_graph([node], "resize", ports[:1], ports[1:], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    return ReferenceEvaluator(model).run(None, {"x": np.eye(source, dtype=np.float32)})[0].T


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("coordinates", sorted(COORDINATES))
@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize(("source", "outputs"), SIZES)
def test_weights_are_those_of_the_onnx_operator(
    kernel: str, coordinates: str, antialias: bool, source: int, outputs: int
) -> None:
    # Without antialias the operator repeats the edge; with it, it leaves out what is beyond.
    border = "renormalise" if antialias else "replicate"
    sampling = Sampling(kernel=kernel, coordinates=coordinates, antialias=antialias, border=border)

    ours = matrix(sampling, source, outputs)

    mode = {"mode": "linear"} if kernel == "linear" else {"mode": "cubic", "cubic_coeff_a": float(kernel[5:])}
    theirs = by_onnx(
        source,
        outputs,
        coordinate_transformation_mode=ONNX_COORDINATES[coordinates],
        antialias=int(antialias),
        exclude_outside=int(antialias),
        **mode,
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("border", ["renormalise", "replicate"])
@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_weights_sum_to_one_and_stay_inside(kernel: str, border: str) -> None:
    for source, outputs in [*SIZES, (5, 1)]:
        taps = axis_taps(Sampling(kernel=kernel, antialias=True, border=border), source, outputs)

        np.testing.assert_allclose(taps.weights.sum(axis=1), 1, atol=1e-12)
        assert taps.first.min() >= 0
        assert (taps.first + taps.weights.shape[1]).max() <= source


def test_replicated_borders_weigh_the_edge_more_than_renormalised_ones() -> None:
    repeated, left_out = (
        matrix(Sampling(antialias=True, border=border), 16, 4)[0] for border in ("replicate", "renormalise")
    )

    assert repeated[0] > left_out[0]
    np.testing.assert_allclose(repeated[4:6], left_out[4:6] * (16 - 2.0) / 16)  # the triangle's part that is inside
