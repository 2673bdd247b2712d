"""Tiny classifiers written as text, two ways to run a graph, and one classifier on any grid."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from robustmq_trt.core.precision import Precision
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.core.recipe import LayerRule, Recipe
from robustmq_trt.export.grid import to_grid
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantizable_tensors, quantize

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
RESIDUAL = """
net (float[N,3,8,8] image) => (float[N,5] logits) {
    c1 = Conv<pads=[1,1,1,1]>(image, w1, b1)
    r1 = Relu(c1)
    c2 = Conv<pads=[1,1,1,1]>(r1, w2, b2)
    s = Add(c2, r1)
    r2 = Relu(s)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r2)
    c3 = Conv(m, w3, b3)
    g = GlobalAveragePool(c3)
    f = Flatten(g)
    logits = Gemm<transB=1>(f, fw, fb)
}"""
RESIDUAL_SHAPES = {
    **{"w1": (6, 3, 3, 3), "b1": (6,), "w2": (6, 6, 3, 3), "b2": (6,), "w3": (7, 6, 1, 1), "b3": (7,)},
    **{"fw": (5, 7), "fb": (5,)},
}
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

    def run(
        model: onnx.ModelProto, images: NDArray[Any], *, optimize: bool = True, optimized: str | None = None
    ) -> NDArray[Any]:
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if not optimize:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if optimized:
            options.optimized_model_filepath = optimized
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])

    return run


@pytest.fixture
def inner_values() -> Callable[..., dict[str, NDArray[Any]]]:
    """Give a function that runs a model on ONNX Runtime as it is written, and gives inner tensors by name."""
    import onnxruntime as runtime

    def run(model: onnx.ModelProto, names: Iterable[str], images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        asked = sorted(set(names) - {entry.name for entry in (*probe.graph.output, *probe.graph.input)})
        probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in asked)
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = runtime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = [output.name for output in session.get_outputs()]
        return dict(zip(found, session.run(None, {probe.graph.input[0].name: images}), strict=True))

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
    shutil.copy(Path(__file__).with_name("user_module.py"), tmp_path / "usermodel.py")
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


@pytest.fixture
def net() -> onnx.ModelProto:
    """Give a prepared classifier with a residual Add, pooling and a Gemm."""
    rng = np.random.default_rng(0)
    own = {name: (rng.normal(size=shape) * 0.4).astype(np.float32) for name, shape in RESIDUAL_SHAPES.items()}
    return prepare(parse(RESIDUAL, own)).model


@pytest.fixture
def ranges(net: onnx.ModelProto, inner_values: Callable[..., Any], images: Callable[..., Any]) -> RangeTable:
    """Give the ranges of `net` over 64 images."""
    values = inner_values(net, quantizable_tensors(net), images(net, 64, seed=1))
    pairs = {name: (float(value.min()), float(value.max())) for name, value in values.items()} | {"image": (-1.0, 1.0)}
    return RangeTable(method="minmax", images=1, model_sha256="0" * 64, data_sha256="1" * 64, preset="x", ranges=pairs)


@pytest.fixture
def grid(net: onnx.ModelProto, ranges: RangeTable) -> Callable[..., onnx.ModelProto]:
    """Give a function from a precision and rules of layers to `net` on that grid."""

    def make(precision: str, *, keep_ends: bool = False, weights: Any = None, **layers: LayerRule) -> onnx.ModelProto:
        recipe = Recipe(precision=Precision.parse(precision), keep_ends=keep_ends, layers=layers)
        return to_grid(
            quantize(net, ranges, keep_float=recipe.float_layers), net, ranges, recipe=recipe, weights=weights
        )

    return make
