"""Tiny classifiers written as text, and two ways to run a graph."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

USER_MODULE = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, head=None):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)
        self.drop = nn.Dropout(0.5)
        self.head = head or nn.Linear(8, 5)

    def features(self, x):
        return torch.relu(self.norm(self.conv(x))).mean((2, 3))

    def forward(self, x):
        return self.head(self.drop(self.features(x).view(x.size(0), -1)))


class Leftover(Net):
    def features(self, x):
        y = F.batch_norm(self.conv(x), None, None, training=True)
        return torch.relu(y).mean((2, 3))


class Random(Net):
    def forward(self, x):
        return self.head(F.dropout(self.features(x), training=True))


class Pair(Net):
    def forward(self, x):
        y = super().forward(x)
        return y, y


class Picky(Net):
    def forward(self, x):
        if x.shape[2] < 4:
            raise ValueError("too small")
        return super().forward(x)


class Unexportable(Net):
    def forward(self, x):
        y = x.mean((2, 3))
        return super().forward(x) + torch.linalg.eigvalsh(y[:, :, None] * y[:, None, :]).sum(1, keepdim=True)


class Untraceable(Net):
    def forward(self, x):
        y = super().forward(x)
        return y * 2 if bool(y.sum() > 1e9) else y


def with_argument(width):
    return Net()


def number():
    return 7


def broken():
    raise RuntimeError("no such checkpoint")
"""

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'

CONV_BN = """
net (float[N,3,8,8] image) => (float[N,5] logits) {
    c = Conv<pads=[1,1,1,1]>(image, w)
    b = BatchNormalization<epsilon=0.001>(c, gamma, beta, mean, var)
    r = Relu(b)
    g = GlobalAveragePool(r)
    f = Flatten(g)
    d = Dropout(f)
    logits = Gemm<transB=1>(d, fw, fb)
}"""
SOFTMAX = """
net (float[N,3,8,8] image) => (float[N,5] probabilities) {
    c = Conv<pads=[1,1,1,1]>(image, w)
    r = Relu(c)
    g = GlobalAveragePool(r)
    f = Flatten(g)
    l = Gemm<transB=1>(f, fw, fb)
    probabilities = Softmax(l)
}"""
NHWC = """
net (float[N,8,8,3] image) => (float[N,5] logits) {
    t = Transpose<perm=[0,3,1,2]>(image)
    c = Conv<pads=[1,1,1,1]>(t, w)
    r = Relu(c)
    g = GlobalAveragePool(r)
    f = Flatten(g)
    logits = Gemm<transB=1>(f, fw, fb)
}"""
FIXED_RESHAPE = """
net (float[1,3,8,8] image) => (float[1,5] logits)
<int64[2] target = {1, -1}, int64[2] axes = {2, 3}> {
    c = Conv<pads=[1,1,1,1]>(image, w)
    r = Relu(c)
    g = GlobalAveragePool(r)
    f = Reshape(g, target)
    logits = Gemm<transB=1>(f, fw, fb)
}"""
SHAPE_CHAIN = """
net (float[N,3,8,8] image) => (float[N,5] logits) {
    c = Conv<pads=[1,1,1,1]>(image, w)
    r = Relu(c)
    g = GlobalAveragePool(r)
    s = Shape(g)
    zero = Constant<value_int=0>()
    n = Gather(s, zero)
    axis = Constant<value_ints=[0]>()
    n1 = Unsqueeze(n, axis)
    rest = Constant<value_ints=[-1]>()
    target = Concat<axis=0>(n1, rest)
    f = Reshape(g, target)
    logits = Gemm<transB=1>(f, fw, fb)
}"""
NETS = {
    "conv_bn": CONV_BN,
    "softmax": SOFTMAX,
    "nhwc": NHWC,
    "fixed_reshape": FIXED_RESHAPE,
    "shape_chain": SHAPE_CHAIN,
}


def parse(text: str, weights: dict[str, NDArray[Any]] | None = None) -> onnx.ModelProto:
    """Parse a graph's text and give it its weights; unread ones are left out."""
    model: onnx.ModelProto = parser.parse_model(HEADER + text)
    read = {name for node in model.graph.node for name in node.input}
    for name, value in (weights or {}).items():
        if name in read:
            model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def weights(seed: int = 0, channels: int = 6) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    draw = {
        "w": rng.normal(size=(channels, 3, 3, 3)),
        "fw": rng.normal(size=(5, channels)),
        "fb": rng.normal(size=5),
        "gamma": rng.uniform(0.5, 2, channels),
        "beta": rng.normal(size=channels),
        "mean": rng.normal(size=channels),
        "var": rng.uniform(0.1, 2, channels),
    }
    return {name: value.astype(np.float32) for name, value in draw.items()}


@pytest.fixture
def make_model() -> Callable[..., onnx.ModelProto]:
    """Give a function from a graph's text, and optionally weights, to a model."""
    return lambda text, own=None: parse(text, weights() if own is None else own)


@pytest.fixture
def make_net() -> Callable[..., onnx.ModelProto]:
    """Give a function from a net's name and a seed to a model with random weights."""
    return lambda name, seed=0: parse(NETS[name], weights(seed))


@pytest.fixture
def run_reference() -> Callable[[onnx.ModelProto, NDArray[Any]], NDArray[Any]]:
    """Give a function that runs a model on onnx's reference implementation."""

    def run(model: onnx.ModelProto, images: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(ReferenceEvaluator(model).run(None, {model.graph.input[0].name: images})[0])

    return run


@pytest.fixture
def run_ort() -> Callable[..., NDArray[Any]]:
    """Give a function that runs a model on ONNX Runtime's CPU kernels."""
    import onnxruntime as runtime

    def run(model: onnx.ModelProto, images: NDArray[Any], *, optimized: str | None = None) -> NDArray[Any]:
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if optimized:
            options.optimized_model_filepath = optimized
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])

    return run


@pytest.fixture
def images() -> Callable[..., NDArray[np.float32]]:
    """Give a function that draws images for a model's input."""

    def draw(model: onnx.ModelProto, count: int, seed: int = 0) -> NDArray[np.float32]:
        dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        return np.random.default_rng(seed).uniform(-1, 1, (count, *dims)).astype(np.float32)

    return draw


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder that holds a user's PyTorch module `usermodel`."""
    (tmp_path / "usermodel.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "usermodel", raising=False)
    yield tmp_path
    sys.modules.pop("usermodel", None)


@pytest.fixture
def operators() -> Callable[[onnx.ModelProto], Counter[str]]:
    """Count the operators of a graph."""
    return lambda model: Counter(node.op_type for node in model.graph.node)


@pytest.fixture
def assert_close() -> Callable[[np.ndarray, np.ndarray], None]:
    """Compare scores at 1e-5 of the largest."""
    return lambda got, expected: np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
