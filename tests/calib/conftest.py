"""Observations made from known values, and tiny graphs whose activations can be worked out by hand."""

from collections.abc import Callable

import numpy as np
import onnx.parser
import pytest

from robustmq_trt.calib.histogram import Observed, count_values, grid_exponent, scratch

Observe = Callable[[np.ndarray], Observed]


def observed_from(values: np.ndarray) -> Observed:
    values = np.ascontiguousarray(values, np.float32)
    exponent = grid_exponent(float(np.abs(values).max()))
    return Observed(
        minimum=float(values.min()),
        maximum=float(values.max()),
        exponent=exponent,
        counts=count_values(values, exponent, scratch()),
    )


@pytest.fixture
def observe_values() -> Observe:
    return observed_from


@pytest.fixture
def distributions(rng) -> dict[str, np.ndarray]:
    """Shapes that activations take: two-sided, one-sided with a spike at zero, saturated, long-tailed, lopsided."""
    normal = rng.normal(size=100_000)
    return {
        "gauss": normal,
        "relu": np.maximum(normal, 0),
        "relu6": np.clip(3 * normal + 2, 0, 6),
        "laplace": rng.laplace(size=100_000),
        "outlier": np.append(normal, [60.0]),
        "lopsided": np.where(normal < 0, normal / 10, normal * 3),
        "negative": -np.abs(normal) - 1,
    }


@pytest.fixture
def tiny_model() -> onnx.ModelProto:
    """Two activations of `x`: `h` = 2 x + 1 that leads only into the Relu `r`, and `y` = -r."""
    return onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,1,2,2] x) => (float[N,1,2,2] y) <float two = {2}, float one = {1}> {
          d = Mul (x, two)
          h = Add (d, one)
          r = Relu (h)
          y = Neg (r)
        }""")
