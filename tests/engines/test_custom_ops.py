"""A real library of custom operators behind ONNX Runtime, and libraries that are no good."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest

from robustmq_trt.core.errors import InputError, RefusedError, UnsupportedError
from robustmq_trt.core.files import sha256_file
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.child import ChildEngine
from robustmq_trt.engines.onnx_graph import Graph
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.engines.onnxruntime_kernels import match
from robustmq_trt.engines.protocol import Engine

IMAGES = np.random.default_rng(3).normal(size=(4, 3, 8, 8)).astype(np.float32)
GRID = "hq = QuantizeLinear (h, s, z) hd = DequantizeLinear (hq, s, z) r = Relu (hd)"

Convert = Callable[[Path, Path], Path]


@pytest.fixture
def custom(float_model: Path, with_custom_relus: Convert) -> Path:
    return with_custom_relus(float_model, float_model.with_name("custom.onnx"))


@pytest.fixture
def opened(operator_library: Path) -> Iterator[Callable[[object], Engine]]:
    engines: list[Engine] = []

    def open_with_library(target: object) -> Engine:
        trust = [f"sha256:{sha256_file(operator_library)}"]
        engines.append(open_engine(str(target), threads=1, custom_ops=[operator_library], trust=trust))
        return engines[-1]

    yield open_with_library
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("prefix", ["", "simulation:"])
def test_scores_are_those_of_the_same_model_in_standard_operators(
    float_model: Path, custom: Path, opened: Callable[[object], Engine], prefix: str
):
    with closing(OnnxRuntimeEngine.open(float_model, threads=1)) as standard:
        found = opened(f"{prefix}{custom}").infer(IMAGES)

        np.testing.assert_allclose(found, standard.infer(IMAGES), rtol=0, atol=1e-6)


def test_the_library_runs_in_a_child_and_its_hash_is_told(
    custom: Path, operator_library: Path, opened: Callable[[object], Engine]
):
    engine = opened(custom)

    assert isinstance(engine, ChildEngine)
    assert engine.provenance()["custom_ops_sha256"] == {operator_library.name: sha256_file(operator_library)}


def test_a_model_in_standard_operators_is_not_given_the_library(float_model: Path, opened: Callable[[object], Engine]):
    engine = opened(float_model)

    assert isinstance(engine, OnnxRuntimeEngine)
    assert engine.provenance()["custom_ops_sha256"] == {}


def test_custom_operators_are_unprovable_and_neither_float_nor_integer(
    qdq_text: str, saved: Callable[[str], Path], with_custom_relus: Convert, opened: Callable[[object], Engine]
):
    source = saved(qdq_text.replace("r = Relu (h)", GRID))
    audit = opened(with_custom_relus(source, source.with_name("custom.onnx"))).audit()

    verdicts = {layer.operator: (layer.compute, layer.macs) for layer in audit.layers}
    assert verdicts["Conv"][0] == "integer"
    assert verdicts["ai.onnx.contrib::NegPos"] == ("unknown", None)
    assert "NegPos" not in {operator.operator for operator in audit.float_operators}
    assert audit.integer_coverage == 0.0
    assert "unprovable" in next(layer.reason for layer in audit.layers if layer.operator.endswith("NegPos"))


def test_a_custom_operator_with_the_name_of_an_integer_kernel_proves_nothing(float_model: Path):
    model = onnx.load(float_model)
    model.opset_import.append(onnx.helper.make_opsetid("evil", 1))
    convolution = model.graph.node[0]
    convolution.op_type, convolution.domain = "QLinearConv", "evil"
    graph = Graph.of(model)

    assert graph.macs(graph.layers()[0]) is None
    assert convolution.output[0] not in match(graph, model.graph.node)


def test_a_library_is_refused_until_its_own_hash_is_named(custom: Path, operator_library: Path):
    other = f"sha256:{sha256_file(custom)}"

    with pytest.raises(RefusedError, match=f"native code.*--trust-engine sha256:{sha256_file(operator_library)}"):
        open_engine(custom, custom_ops=[operator_library], trust=[other])


def test_a_library_that_is_not_there_or_there_twice_is_refused(custom: Path, operator_library: Path, tmp_path: Path):
    trust = [f"sha256:{sha256_file(operator_library)}"]

    with pytest.raises(InputError, match=r"'.*none\.so' does not exist"):
        open_engine(custom, custom_ops=[tmp_path / "none.so"])
    with pytest.raises(InputError, match="Two operator libraries"):
        open_engine(custom, custom_ops=[operator_library, operator_library], trust=trust)


def test_a_library_that_is_no_good_is_named(custom: Path, bad_library: tuple[Path, str]):
    library, said = bad_library

    with pytest.raises(InputError, match=f"(?s){said}.*{library.name}"):
        open_engine(custom, custom_ops=[library], trust=[f"sha256:{sha256_file(library)}"])


def test_openvino_takes_no_library_of_onnx_runtime(custom: Path, opened: Callable[[object], Engine]):
    with pytest.raises(UnsupportedError, match=r"ai\.onnx\.contrib::NegPos.*ONNX Runtime"):
        opened(f"openvino:{custom}")
