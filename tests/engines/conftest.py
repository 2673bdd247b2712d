"""Tiny classifiers as ONNX text, and the real networks quantized by ONNX Runtime's own quantizer."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from onnx import ModelProto, numpy_helper

_HEADER = '<ir_version: 8, opset_import: ["" : 19, "com.microsoft" : 1]>'
_WEIGHTS = {"w": (4, 3, 3, 3), "b": (4,), "v": (5, 4), "c": (5,)}

FLOAT = """
g (float[N,3,8,8] x) => (float[N,5] y) {
  h = Conv <pads = [1,1,1,1]> (x, w, b)
  r = Relu (h)
  p = GlobalAveragePool (r)
  f = Flatten (p)
  y = Gemm <transB = 1> (f, v, c)
}"""

QDQ = """
g (float[N,3,8,8] x) => (float[N,5] y)
<float s = {0.02}, uint8 z = {128}, uint8 z0 = {0}, float t = {0.01}, int8 k = {0}> {
  xq = QuantizeLinear (x, s, z)
  xd = DequantizeLinear (xq, s, z)
  wq = QuantizeLinear (w, t, k)
  wd = DequantizeLinear (wq, t, k)
  h = Conv <pads = [1,1,1,1]> (xd, wd, b)
  r = Relu (h)
  rq = QuantizeLinear (r, s, z0)
  rd = DequantizeLinear (rq, s, z0)
  p = GlobalAveragePool (rd)
  f = Flatten (p)
  y = Gemm <transB = 1> (f, v, c)
}"""


def parse(text: str) -> ModelProto:
    """Parse a graph and give it those of the weights w (4,3,3,3), b (4,), v (5,4), c (5,) that it names."""
    model = onnx.parser.parse_model(_HEADER + text)
    rng = np.random.default_rng(7)
    used = {tensor for node in model.graph.node for tensor in node.input}
    for name, shape in _WEIGHTS.items():
        values = rng.normal(0, 0.3, shape).astype(np.float32)
        if name in used:
            model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


@pytest.fixture
def parsed() -> Callable[[str], ModelProto]:
    return parse


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], Path]:
    """Write a graph given as text to a file."""

    def save(text: str) -> Path:
        path = tmp_path / "model.onnx"
        onnx.save(parse(text), path)
        return path

    return save


@pytest.fixture
def float_model(saved: Callable[[str], Path]) -> Path:
    return saved(FLOAT)


@pytest.fixture
def qdq_model(saved: Callable[[str], Path]) -> Path:
    return saved(QDQ)


@pytest.fixture
def ir_model(qdq_model: Path) -> Path:
    """The QDQ classifier as OpenVINO's own format: `model.xml` with `model.bin` beside it."""
    openvino = pytest.importorskip("openvino", reason="needs the openvino extra")
    path = qdq_model.with_name("ir") / "model.xml"
    path.parent.mkdir()
    openvino.save_model(openvino.Core().read_model(qdq_model), path, compress_to_fp16=False)
    return path


@pytest.fixture
def float_text() -> str:
    return FLOAT


@pytest.fixture
def qdq_text() -> str:
    return QDQ


@pytest.fixture(scope="session")
def quantized(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    """Quantize a real network by `quantize_static`, per channel, with uint8 or symmetric int8 activations."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    folder = tmp_path_factory.mktemp("quantized")

    def quantize(name: str, symmetric: bool) -> Path:
        path = folder / f"{name}_{'s8' if symmetric else 'u8'}.onnx"
        if not path.exists():
            source = realdata / "models" / f"{name}.onnx"
            quantize_static(
                source,
                path,
                _Noise(source),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": symmetric},
            )
        return path

    return quantize


class _Noise:
    """Four noise images: kernels depend on the types, not on the ranges."""

    def __init__(self, path: Path) -> None:
        entry = onnx.load(path).graph.input[0]
        shape = [1, *(dim.dim_value for dim in entry.type.tensor_type.shape.dim[1:])]
        rng = np.random.default_rng(0)
        self._images: Iterator[dict[str, object]] = iter(
            [{entry.name: rng.normal(size=shape).astype(np.float32)} for _ in range(4)]
        )

    def get_next(self) -> dict[str, object] | None:
        return next(self._images, None)
