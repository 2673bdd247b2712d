"""The packed weights are made here by hand, since engines and export do not know each other."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from robustmq_trt.engines.onnx_graph import Graph
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.engines.onnxruntime_nbits import rounds_activations


def kernel(level: int, *, block: int = 32, inputs: int = 96, outputs: int = 10, extra: bool = False) -> onnx.NodeProto:
    names = ["features", "w", "s"] + ["zero"] * extra
    sizes = {"K": inputs, "N": outputs, "bits": 4, "block_size": block, "accuracy_level": level}
    return helper.make_node("MatMulNBits", names, ["scores"], name="head", domain="com.microsoft", **sizes)


def weights(rng: np.random.Generator, *, block: int = 32, inputs: int = 96, outputs: int = 10) -> dict[str, np.ndarray]:
    blocks = -(-inputs // block)
    packed = rng.integers(0, 256, (outputs, blocks, block // 2)).astype(np.uint8)
    return {"w": packed, "s": rng.uniform(0.01, 0.1, (outputs, blocks)).astype(np.float32)}


@pytest.fixture
def model(rng: np.random.Generator) -> onnx.ModelProto:
    """Flatten and one MatMulNBits of accuracy level 4; (N, 3, 4, 8) images to 10 scores."""
    flatten = helper.make_node("Flatten", ["x"], ["features"])
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 8])
    target = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])
    stored = [numpy_helper.from_array(value, name) for name, value in weights(rng).items()]
    graph = helper.make_graph([flatten, kernel(4)], "net", [source], [target], stored)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("rows", [1, 64])
@pytest.mark.parametrize("block", [32, 64, 128])
def test_level_0_multiplies_float_activations(rng: np.random.Generator, block: int, rows: int) -> None:
    stored = weights(rng, block=block)

    assert rounds_activations(kernel(0, block=block), stored, rows=rows, threads=1) is False


@pytest.mark.parametrize("rows", [1, 64])
@pytest.mark.parametrize("block", [32, 64, 128])
def test_level_4_is_decided_by_its_answers(rng: np.random.Generator, block: int, rows: int) -> None:
    found = rounds_activations(kernel(4, block=block), weights(rng, block=block), rows=rows, threads=1)

    assert found is not None  # which of both depends on the processor


def test_a_kernel_with_zero_points_or_unknown_weights_proves_nothing(rng: np.random.Generator) -> None:
    assert rounds_activations(kernel(4, extra=True), weights(rng), rows=1, threads=1) is None
    assert rounds_activations(kernel(4), {}, rows=1, threads=1) is None


def test_the_audit_follows_the_answers(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    rounded = rounds_activations(kernel(4), stored, rows=1, threads=1)

    engine = OnnxRuntimeEngine.open(path, threads=1)
    audit = engine.audit()
    engine.close()

    (layer,) = audit.layers
    assert (layer.kernel, layer.macs) == ("MatMulNBits", 960)
    assert layer.compute == ("integer" if rounded else "float")
    assert "answers of each MatMulNBits kernel to noise" in audit.evidence


def test_at_level_0_the_audit_says_weight_only(model: onnx.ModelProto, tmp_path: Path) -> None:
    for entry in model.graph.node[1].attribute:
        if entry.name == "accuracy_level":
            entry.i = 0
    path = tmp_path / "net.onnx"
    onnx.save(model, path)

    engine = OnnxRuntimeEngine.open(path, threads=1)
    audit = engine.audit()
    engine.close()

    assert [layer.compute for layer in audit.layers] == ["float"]
    assert "multiplied in float" in audit.layers[0].reason


def test_shapes_are_known_behind_a_kernel_of_a_foreign_domain(model: onnx.ModelProto) -> None:
    square = helper.make_node("MatMul", ["scores", "turned"], ["y"], name="square")
    turned = helper.make_node("Transpose", ["scores"], ["turned"])
    model.graph.node.extend([turned, square])
    model.graph.output[0].name = "y"

    graph = Graph.of(model)

    assert [graph.macs(layer) for layer in graph.layers()] == [960, 10]
