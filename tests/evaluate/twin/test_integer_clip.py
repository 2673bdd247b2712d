"""A grid below 8 bits is an integer Clip between Q and DQ: straight-through sees its ends, not those of uint8."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from robustmq_trt.evaluate.twin.backward import GRADIENT, product_graph

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1,12] x) => (float[1,12] y)
<float s = {{0.5}}, {kind} z = {{{zero}}}, {kind} low = {{{low}}}, {kind} high = {{{high}}}> {{
    q = QuantizeLinear(x, s, z)
    c = Clip(q, low, high)
    y = DequantizeLinear(c, s, z)
}}"""
VALUES = np.float32([[-9, -2.3, -2.2, -1.6, -1.0, 0, 0.3, 5.0, 5.7, 5.8, 6.1, 99]])


@pytest.mark.parametrize(
    ("kind", "zero", "low", "high", "expected"),
    [
        ("uint8", 4, 0, 15, [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0]),  # -2.25 to 5.75
        ("int8", 0, -3, 3, [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0]),  # -1.75 to 1.75
    ],
)
def test_the_gradient_passes_where_a_code_needs_no_clipping(kind, zero, low, high, expected):
    model = parser.parse_model(NET.format(kind=kind, zero=zero, low=low, high=high))

    twin = product_graph(model, straight_through=True)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(twin.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (gradient,) = session.run([GRADIENT], {"x": VALUES, "cotangent": np.ones((1, 12), np.float32)})
    assert gradient.tolist() == [expected]
