from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from robustmq_trt.engines.onnx_graph import Graph

Parse = Callable[[str], ModelProto]


def macs(model: ModelProto, **shapes: tuple[int, ...]) -> int | None:
    for name, shape in shapes.items():
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
    graph = Graph.of(model)
    return graph.macs(graph.layers()[0])


@pytest.mark.parametrize(
    ("text", "shapes", "expected"),
    [
        # output 8 x 8 x 6 values, each a sum over 3 x 3 x 3 products
        ("h = Conv <pads=[1,1,1,1]> (x, k)", {"k": (6, 3, 3, 3)}, 8 * 8 * 6 * 27),
        # depthwise, stride 2: 4 x 4 x 3 values of 9 products
        ("h = Conv <group=3, strides=[2,2], pads=[1,1,1,1]> (x, k)", {"k": (3, 1, 3, 3)}, 4 * 4 * 3 * 9),
        # each of 8 x 8 x 3 inputs is multiplied into 5 x 2 x 2 outputs
        ("h = ConvTranspose <strides=[2,2]> (x, k)", {"k": (3, 5, 2, 2)}, 8 * 8 * 3 * 20),
        ("f = Flatten (x) h = Gemm <transB=1> (f, k)", {"k": (7, 192)}, 7 * 192),
        ("f = Flatten (x) h = Gemm (f, k)", {"k": (192, 7)}, 7 * 192),
        # 3 x 8 rows of length 8 times an 8 x 5 matrix
        ("h = MatMul (x, k)", {"k": (8, 5)}, 3 * 8 * 8 * 5),
        # two activations: 3 products of 8 x 8 matrices
        ("h = MatMul (x, x)", {}, 3 * 8 * 8 * 8),
    ],
    ids=["conv", "depthwise", "transposed", "gemm-transposed", "gemm", "matmul", "matmul-activations"],
)
def test_macs_equal_the_count_by_hand(parsed: Parse, text: str, shapes: dict[str, tuple[int, ...]], expected: int):
    model = parsed(f"g (float[N,3,8,8] x) => (float y) {{ {text} y = Identity (h) }}")

    assert macs(model, **shapes) == expected


def test_macs_are_those_of_one_image_whatever_batch_the_file_fixes(parsed: Parse):
    text = "g (float[%s,3,8,8] x) => (float y) { h = Conv <pads=[1,1,1,1]> (x, w) y = Identity (h) }"

    assert macs(parsed(text % "16")) == macs(parsed(text % "N")) == 8 * 8 * 4 * 27


def test_unknown_shapes_give_no_count(parsed: Parse):
    assert macs(parsed("g (float[N,3,H,W] x) => (float y) { y = Conv (x, w) }")) is None


def test_local_functions_are_looked_into(parsed: Parse):
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 19, "local" : 1]>
    g (float[N,3,8,8] x, float[4,3,3,3] k) => (float y) { y = local.f (x, k) }
    <opset_import: ["" : 19], domain: "local"> f (a, b) => (c) { c = Conv <pads=[1,1,1,1]> (a, b) }""")

    assert [layer.op_type for layer in Graph.of(model).layers()] == ["Conv"]
