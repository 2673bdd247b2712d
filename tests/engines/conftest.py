"""Tiny classifiers as ONNX text, and the real networks quantized by ONNX Runtime's own quantizer."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

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
    import openvino

    path = qdq_model.with_name("ir") / "model.xml"
    path.parent.mkdir()
    openvino.save_model(openvino.Core().read_model(qdq_model), path, compress_to_fp16=False)
    return path


@pytest.fixture
def tflite(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny classifier as a .tflite file: convolution, mean over the image, matrix product, softmax."""
    import ai_edge_litert.schema_py_generated as schema

    def save(dtype: str = "uint8", batch: int = 1, operator: str | None = None) -> Path:
        path = tmp_path / f"{dtype}_{batch}_{operator}.tflite"
        path.write_bytes(_tflite_bytes(schema, dtype, batch, operator))
        return path

    return save


@pytest.fixture
def tflite_model(tflite: Callable[..., Path]) -> Path:
    return tflite()


def _tflite_bytes(schema: Any, dtype: str, batch: int, operator: str | None) -> bytes:
    """Build the file; a negative batch leaves it open, `operator` puts a custom one in the softmax's place."""
    import flatbuffers

    zero = {"uint8": 128, "int8": 0, "float32": 0}[dtype]
    rng = np.random.default_rng(7)
    types = schema.TensorType
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors, graph.operators, model.operatorCodes = [], [], []

    def tensor(name: str, shape: Sequence[int], kind: str, grid: tuple[float, int], values: Any = None) -> int:
        entry = schema.TensorT()
        entry.name, entry.type = name.encode(), getattr(types, kind.upper())
        entry.shape, entry.shapeSignature = [abs(side) for side in shape], list(shape)
        if kind != "float32":
            entry.quantization = schema.QuantizationParametersT()
            entry.quantization.scale, entry.quantization.zeroPoint = [grid[0]], [grid[1]]
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(values, kind).tobytes(), np.uint8)
            entry.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(entry)
        return len(graph.tensors) - 1

    def weights(name: str, shape: Sequence[int]) -> int:
        if dtype == "float32":
            return tensor(name, shape, dtype, (1.0, 0), rng.normal(0, 0.3, shape))
        return tensor(name, shape, dtype, (0.01, zero), rng.integers(-90, 90, shape) + zero)

    def bias(name: str, size: int, step: float) -> int:
        if dtype == "float32":
            return tensor(name, [size], dtype, (1.0, 0), rng.normal(0, 0.3, size))
        return tensor(name, [size], "int32", (step, 0), rng.integers(-900, 900, size))

    def node(kind: str, inputs: list[int], output: int, options: Any = None, custom: str | None = None) -> int:
        code, entry = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, "CUSTOM" if custom else kind)
        code.customCode, code.version = custom and custom.encode(), {"MEAN": 2}.get(kind, 1) if dtype == "int8" else 1
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        model.operatorCodes.append(code)
        entry.opcodeIndex, entry.inputs, entry.outputs = len(model.operatorCodes) - 1, inputs, [output]
        if options is not None:
            entry.builtinOptions = options
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        graph.operators.append(entry)
        return output

    x = tensor("x", [batch, 8, 8, 3], dtype, (1 / 128, zero))
    convolution, mean, softmax = schema.Conv2DOptionsT(), schema.ReducerOptionsT(), schema.SoftmaxOptionsT()
    convolution.strideH = convolution.strideW = convolution.dilationHFactor = convolution.dilationWFactor = 1
    softmax.beta, mean.keepDims = 1.0, False
    maps = tensor("maps", [batch, 8, 8, 4], dtype, (0.05, zero))
    node("CONV_2D", [x, weights("w", [4, 3, 3, 3]), bias("b", 4, 0.01 / 128)], maps, convolution)
    means = tensor("means", [batch, 4], dtype, (0.02, zero))
    node("MEAN", [maps, tensor("axes", [2], "int32", (1.0, 0), [1, 2])], means, mean)
    logits = tensor("logits", [batch, 5], dtype, (0.05, zero))
    node(
        "FULLY_CONNECTED", [means, weights("v", [5, 4]), bias("c", 5, 0.0002)], logits, schema.FullyConnectedOptionsT()
    )
    scores = tensor("scores", [batch, 5], dtype, (1 / 256, -128 if dtype == "int8" else 0))
    node("SOFTMAX", [logits], scores, None if operator else softmax, operator)
    graph.inputs, graph.outputs = [x], [scores]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


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
                shutil.copy(source, folder),  # it writes files beside the model it reads
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


def _loaded(name: str) -> ModuleType:
    """Import a module that lies beside the tests."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def v2() -> ModuleType:
    """The module `v2_server`: a small server over real sockets."""
    return _loaded("v2_server")


@pytest.fixture(scope="session")
def grpc_v2() -> ModuleType:
    """The module `grpc_server`: the same over gRPC."""
    return _loaded("grpc_server")


@pytest.fixture(scope="session")
def tensorrt_uses() -> ModuleType:
    """The module `tensorrt_uses`: what the backend asks of TensorRT."""
    return _loaded("tensorrt_uses")


@pytest.fixture(scope="session", params=["8.6.1", "10.16.1.11", "11.4.0.106"])
def bindings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """TensorRT's real bindings, brought by pip (about 1 MB), over a stand-in for its libraries, compiled here."""
    real = _loaded("real_tensorrt")
    try:
        return real.fetch(request.param, tmp_path_factory.mktemp("bindings"))
    except real.UnavailableError as error:
        pytest.skip(f"TensorRT's bindings can't be had here: {error}")


@pytest.fixture
def score(qdq_model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The QDQ classifier, run by ONNX Runtime in this process."""
    import onnxruntime

    session = onnxruntime.InferenceSession(qdq_model, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"x": images})[0]


@pytest.fixture
def served_model(score: Callable[[np.ndarray], np.ndarray], v2: ModuleType) -> Iterator[str]:
    """The URL of the QDQ classifier, served over HTTP."""
    with v2.served(v2.Service(score=score, shape=[-1, 3, 8, 8], classes=5)) as url:
        yield url


@pytest.fixture
def grpc_served_model(score: Callable[[np.ndarray], np.ndarray], grpc_v2: ModuleType) -> Iterator[str]:
    """The URL of the QDQ classifier, served over gRPC."""
    with grpc_v2.served(grpc_v2.Service(score=score, shape=[-1, 3, 8, 8], classes=5)) as url:
        yield url


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    """A key and a certificate of its own for 127.0.0.1, in one file."""
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("needs the command openssl to make a certificate")
    key, made, both = (tmp_path / name for name in ("key.pem", "made.pem", "both.pem"))
    subprocess.run(
        [
            *(
                tool,
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    both.write_text(key.read_text() + made.read_text())
    return str(both)
