"""Observations made from known values, and tiny graphs whose activations can be worked out by hand."""

from collections.abc import Callable

import numpy as np
import onnx.parser
import pytest
from onnx import numpy_helper

from robustmq_trt.calib.histogram import Observed
from robustmq_trt.calib.tally import Tally, scratch

Observe = Callable[[np.ndarray], Observed]


def observed_from(values: np.ndarray) -> Observed:
    tally = Tally(counted=True)
    tally.add(np.ascontiguousarray(values, np.float32), scratch())
    return tally.observed()


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


def layered(activation: str, rng: np.random.Generator) -> onnx.ModelProto:
    """A convolution, a depthwise and a pointwise one with `activation` between them, and a classifier on top."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,2,6,6] x) => (float[N,5] logits) <float zero = {{0}}, float six = {{6}}> {{
          c = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
          h = {activation.format("c")}
          d = Conv <pads = [1, 1, 1, 1], group = 4> (h, w2, b2)
          e = {activation.format("d")}
          p = Conv (e, w3, b3)
          q = Relu (p)
          m = GlobalAveragePool (q)
          f = Flatten (m)
          logits = Gemm <transB = 1> (f, w4, b4)
        }}""")
    shapes = {"w1": (4, 2, 3, 3), "w2": (4, 1, 3, 3), "w3": (6, 4, 1, 1), "w4": (5, 6)}
    for number, (name, shape) in enumerate(shapes.items(), start=1):
        spread = rng.lognormal(sigma=1.0, size=(shape[0], *[1] * (len(shape) - 1)))
        weight = (rng.normal(size=shape) * spread).astype(np.float32)
        bias = rng.normal(size=shape[0]).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
        model.graph.initializer.append(numpy_helper.from_array(bias, f"b{number}"))
    return model


@pytest.fixture
def layered_model(rng) -> onnx.ModelProto:
    return layered("Relu ({})", rng)


@pytest.fixture
def clipped_model(rng) -> onnx.ModelProto:
    return layered("Clip ({}, zero, six)", rng)
