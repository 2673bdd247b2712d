"""A layer left in float is computed in float, also by a runtime that would rather quantize it."""

import numpy as np
import onnx
import pytest

from robustmq_trt.calib import calibrate
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.export.float_guard import guard_float_layers
from robustmq_trt.export.qdq import quantize

# `b` reads a channel that is always 0 with weights of 1000: int8 with one scale a layer rounds the others to 0.
CHAIN = """
net (float[N,3,8,8] image) => (float[N,5] logits) {
    [a] a = Conv<pads=[1,1,1,1]>(image, wa)
    [ra] ra = Relu(a)
    [b] b = Conv<pads=[1,1,1,1]>(ra, wb)
    [rb] rb = Relu(b)
    [c] c = Conv<pads=[1,1,1,1]>(rb, wc)
    [g] g = GlobalAveragePool(c)
    [f] f = Flatten(g)
    [head] logits = Gemm<transB=1>(f, fw, fb)
}"""


@pytest.fixture
def chain(make_model) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = {"wa": rng.normal(size=(6, 3, 3, 3)), "wb": rng.normal(size=(6, 6, 3, 3))}
    weights |= {"wc": rng.normal(size=(6, 6, 3, 3)), "fw": rng.normal(size=(5, 6)), "fb": rng.normal(size=5)}
    weights["wa"][0], weights["wb"][:, 0] = 0, 1000
    return make_model(CHAIN, {name: value.astype(np.float32) for name, value in weights.items()})


@pytest.fixture
def ranges(chain, images) -> RangeTable:
    found = calibrate.calibrate(chain, lambda: [images(chain, 32)], methods=["minmax"])["minmax"]
    return RangeTable(method="minmax", images=32, model_sha256="", data_sha256="", preset="", ranges=found)


def test_a_kept_layer_with_hostile_weights_gives_the_float_answers(chain, ranges, images, run_ort):
    batch = images(chain, 8, 1)
    expected = run_ort(chain, batch)

    kept = run_ort(quantize(chain, ranges, keep_float=["b"]), batch)
    all_quantized = run_ort(quantize(chain, ranges), batch)

    spread = expected.std()
    assert np.abs(kept - expected).max() < 0.1 * spread
    assert np.abs(all_quantized - expected).max() > 0.5 * spread


def test_the_kept_layer_is_the_only_float_one_at_run_time(chain, ranges, images, run_ort, tmp_path):
    run_ort(quantize(chain, ranges, keep_float=["b"]), images(chain, 1), optimized=str(tmp_path / "optimized.onnx"))

    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 2
    assert sum("Conv" in kind for kind in kinds) == 3


def test_a_barrier_computes_nothing(chain, ranges, images, run_ort):
    quantized = quantize(chain, ranges, keep_float=["b"])
    barriers = [node for node in quantized.graph.node if node.op_type == "Max"]

    assert [len(node.input) for node in barriers] == [1]


def test_nothing_is_added_where_no_layer_is_kept(chain, ranges):
    quantized = quantize(chain, ranges)

    assert guard_float_layers(quantized, ["b"]) == ()
    assert not any(node.op_type == "Max" for node in quantized.graph.node)


def test_a_second_call_adds_no_second_barrier(chain, ranges):
    quantized = quantize(chain, ranges, keep_float=["b"])

    assert guard_float_layers(quantized, ["b"]) == ()
