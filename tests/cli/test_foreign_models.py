"""Graphs as other exporters leave them go through `build` like our own, and answer the same."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from robustmq_trt.assets import images_dir
from robustmq_trt.cli.main import main

SIDE = 32


def scores(path: Path, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])


def build(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    calibration = str(images_dir("calib"))
    command = ["build", str(model), "--calib", calibration, "--calib-size", "16", "--preset", "torchvision"]
    assert main([*command, "-o", str(folder), "--json", "--quiet"]) == 0
    return dict(json.loads(capsys.readouterr().out))


class Graph:
    """A channels-last graph in a TensorFlow converter's manner: every layer between two transposes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        return name

    def conv(self, source: str, name: str, channels: tuple[int, int], side: int) -> None:
        inner, outer = channels
        weight = self.rng.normal(size=(outer, inner, side, side)).astype(np.float32) * np.float32(2 / side)
        gain = self.rng.uniform(0.5, 1.5, outer).astype(np.float32)
        shift = self.rng.normal(0, 0.1, outer).astype(np.float32)
        self.add("Transpose", [source], f"{name}_first", perm=[0, 3, 1, 2])
        inputs = [f"{name}_first", self.constant(f"{name}_w", weight / np.float32(inner**0.5))]
        self.add("Conv", inputs, f"{name}_conv", strides=[2, 2], auto_pad="SAME_UPPER")
        self.add("Transpose", [f"{name}_conv"], f"{name}_last", perm=[0, 2, 3, 1])
        self.add("Mul", [f"{name}_last", self.constant(f"{name}_gain", gain)], f"{name}_scaled")
        self.add("Add", [f"{name}_scaled", self.constant(f"{name}_shift", shift)], f"{name}_shifted")
        self.add("Relu", [f"{name}_shifted"], f"{name}_relu")
        self.add("Min", [f"{name}_relu", self.constant(f"{name}_six", np.float32(6))], name)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: object) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def save(self, path: Path) -> Path:
        inputs = [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["unk", SIDE, SIDE, 3])]
        outputs = [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["unk", 10])]
        graph = helper.make_graph(self.nodes, "tf", inputs, outputs)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path


def test_a_channels_last_graph_full_of_transposes_runs_in_integers_and_agrees_with_float(tmp_path, capsys):
    graph = Graph(seed=0)
    graph.conv("image", "one", (3, 16), 3)
    graph.conv("one", "two", (16, 32), 3)
    graph.add("ReduceMean", ["two"], "pooled", axes=[1, 2], keepdims=0)
    head = graph.rng.normal(size=(32, 10)).astype(np.float32)
    graph.add("MatMul", ["pooled", graph.constant("head", head)], "logits")
    graph.add("Softmax", ["logits"], "scores", axis=-1)
    model = graph.save(tmp_path / "tf.onnx")

    built = build(model, tmp_path / "out", capsys)

    assert built["integer_coverage"] == 1.0
    batch = np.random.default_rng(1).normal(size=(8, SIDE, SIDE, 3)).astype(np.float32)
    expected = scores(model, batch)
    np.testing.assert_allclose(scores(Path(str(built["reference"])), batch), expected, rtol=0, atol=1e-5)
    difference = np.abs(scores(Path(str(built["path"])), batch) - expected).max()
    assert difference < 0.1 * np.ptp(expected)  # ten tensors, each rounded to 1/255 of its range


def test_an_unoptimised_dynamo_export_runs_in_integers_at_any_batch(tmp_path, capsys):
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, 2, bias=False), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()]
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 10)]
    net = torch.nn.Sequential(*layers, *head).eval()
    batch = torch.randn(2, 3, SIDE, SIDE)
    model = tmp_path / "dynamo.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter uses calls that its own next release drops
        torch.onnx.export(net, (batch,), model, dynamo=True, optimize=False, external_data=False, verbose=False)

    built = build(model, tmp_path / "out", capsys)

    assert built["integer_coverage"] == 1.0
    assert built["notes"] == []
    with torch.no_grad():
        expected = net(batch).numpy()
    np.testing.assert_allclose(scores(Path(str(built["reference"])), batch.numpy()[:1]), expected[:1], atol=1e-5)
