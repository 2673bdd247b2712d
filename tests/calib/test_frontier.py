"""Where a network is one tensor wide, and that starting there gives what starting from the images gives."""

import numpy as np
import onnx.parser
import pytest
from onnx import numpy_helper

from robustmq_trt.calib.frontier import Frontier, bottlenecks
from robustmq_trt.calib.prefix import runner


@pytest.fixture
def residual() -> onnx.ModelProto:
    return onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,2] x) => (float[N,2] y) <float two = {2}> {
          a = Mul (x, two)
          b = Relu (a)
          c = Neg (b)
          d = Relu (c)
          e = Add (b, d)
          y = Neg (e)
        }""")


def test_inside_a_residual_block_two_tensors_are_alive(residual):
    assert bottlenecks(residual) == {"x": -1, "a": 0, "b": 1, "e": 4, "y": 5}


def test_starting_at_the_frontier_gives_the_same_values(residual, rng):
    images = rng.normal(size=(6, 2)).astype(np.float32)
    frontier = Frontier(residual, lambda: np.split(images, 3))

    for tensor, start in {"a": "a", "d": "b", "y": "y", "c": "y"}.items():
        frontier.move(tensor, threads=1)
        assert frontier.start == start
        if tensor != "c":
            ahead = runner(residual, tensor, start=frontier.start)
            got = np.concatenate([ahead(batch) for batch in frontier])
            np.testing.assert_array_equal(got, runner(residual, tensor)(images))


def test_what_is_too_large_to_keep_is_not_kept(residual, rng):
    images = rng.normal(size=(6, 2)).astype(np.float32)
    frontier = Frontier(residual, lambda: np.split(images, 3), most_bytes=images.nbytes - 1)

    frontier.move("b", threads=1)

    assert frontier.start == "x"
    np.testing.assert_array_equal(np.concatenate(list(frontier)), images)


def test_a_constant_node_is_alive_until_it_is_read(residual):
    node = onnx.helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.float32(1)))
    residual.graph.node.insert(0, node)
    residual.graph.node[5].input[1] = "k"

    assert "a" not in bottlenecks(residual)
