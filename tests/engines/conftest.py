"""Tiny classifiers as ONNX text, and the real networks quantized by ONNX Runtime's own quantizer."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx.parser
import pytest
from onnx import ModelProto, numpy_helper

from robustmq_trt.engines.remote import RemoteEngine
from robustmq_trt.engines.remote_retry import Policy

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


HALF = FLOAT.replace("float[", "float16[")


def parse(text: str) -> ModelProto:
    """Parse a graph and give it those of the weights w (4,3,3,3), b (4,), v (5,4), c (5,) that it names.

    They are float16 where the graph's input is.
    """
    model = onnx.parser.parse_model(_HEADER + text)
    rng = np.random.default_rng(7)
    used = {tensor for node in model.graph.node for tensor in node.input}
    for name, shape in _WEIGHTS.items():
        values = rng.normal(0, 0.3, shape).astype(np.float16 if "float16[" in text else np.float32)
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
def half_model(saved: Callable[[str], Path]) -> Path:
    """The float classifier in float16 throughout, its input and its scores included."""
    return saved(HALF)


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

    def save(dtype: str = "uint8", batch: int = 1, operator: str | None = None) -> Path:
        path = tmp_path / f"{dtype}_{batch}_{operator}.tflite"
        path.write_bytes(_loaded("tflite_file").content(dtype, batch, operator))
        return path

    return save


@pytest.fixture
def tflite_model(tflite: Callable[..., Path]) -> Path:
    return tflite()


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
    """TensorRT's real bindings, brought by pip (1 MB each), over a stand-in for its libraries, compiled here."""
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
def linear() -> Callable[[np.ndarray], np.ndarray]:
    """A linear classifier of five classes, by NumPy."""
    weights = np.random.default_rng(0).normal(0, 0.1, (3 * 8 * 8, 5)).astype(np.float32)
    return lambda images: images.reshape(len(images), -1) @ weights


@pytest.fixture
def noise() -> Callable[[int], np.ndarray]:
    """Draw so many images for it."""
    return lambda count: np.random.default_rng(1).normal(0, 1, (count, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def service(v2: ModuleType, linear: Callable[[np.ndarray], np.ndarray]) -> Any:
    """What `v2.served` serves: the linear classifier, until a test bends it."""
    return v2.Service(score=linear, shape=[-1, 3, 8, 8], classes=5)


@pytest.fixture
def hasty() -> Callable[..., RemoteEngine]:
    """Open a server with little patience: three attempts in two seconds, and none after two failures in a row."""
    policy = Policy(deadline_s=2.0, attempts=3, backoff_s=0.001, failures=2, cooldown_s=60.0)
    return lambda url, **options: RemoteEngine.open(url, **{"policy": policy, **options})


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
