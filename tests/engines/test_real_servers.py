"""The engine against a real Triton, MLServer and KServe, each in its own environment; see `servers/make.py`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from robustmq_trt import assets
from robustmq_trt.core.errors import InputError
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.engines.remote import RemoteEngine
from robustmq_trt.engines.remote_retry import Policy, ServerError
from robustmq_trt.engines.remote_statistics import times_apart
from robustmq_trt.engines.selftest import self_test

SERVERS = Path(__file__).with_name("servers")
pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def launch() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SERVERS))
    import launch

    yield launch
    sys.path.remove(str(SERVERS))


@pytest.fixture(scope="module")
def direct() -> Iterator[OnnxRuntimeEngine]:
    engine = OnnxRuntimeEngine.open(assets.model_path(), threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="module", params=["triton", "mlserver", "kserve"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["http", "v2+grpc"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url(
    server: str, scheme: str, launch: ModuleType, direct: OnnxRuntimeEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if launch.make.folder_of(server) is None:
        pytest.skip(f"needs the environment of {server}, made by: {launch.make.COMMAND}")
    signature = launch.signature("input", direct.spec.image_shape, "logits", direct.spec.classes)
    folder = tmp_path_factory.mktemp(server)
    with launch.running(server, assets.model_path(), signature, folder, scheme=scheme) as address:
        yield address


@pytest.fixture
def engine(url: str) -> Iterator[RemoteEngine]:
    opened = RemoteEngine.open(url)
    yield opened
    opened.close()


def noise(engine: RemoteEngine, count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (count, *engine.spec.image_shape)).astype(np.float32)


def test_scores_are_the_bits_of_onnx_runtime(engine: RemoteEngine, direct: OnnxRuntimeEngine):
    images = noise(engine, 150)  # more than Triton takes at once

    np.testing.assert_array_equal(engine.infer(images), direct.infer(images))


def test_the_signature_is_that_of_the_file(engine: RemoteEngine, direct: OnnxRuntimeEngine):
    assert engine.spec == direct.spec


def test_scores_are_the_same_twice_and_at_every_batch_size(engine: RemoteEngine):
    result = self_test(engine, noise(engine, 32))

    assert (result.repeatable, result.batch_invariant, result.max_delta) == (True, True, 0.0)


def test_binary_tensors_are_used_where_the_server_has_them(engine: RemoteEngine, server: str, scheme: str):
    said = engine.provenance()

    assert said["providers"] == [server]
    over_http = "http, json" if server == "mlserver" else "http, binary tensors"
    assert said["transport"] == (over_http if scheme == "http" else "grpc, binary tensors")
    assert said["max_batch"] == (64 if server == "triton" else None)


def test_the_server_is_timed_apart_where_it_tells(engine: RemoteEngine, server: str):
    before = engine.provenance()
    engine.infer(noise(engine, 8))

    times = times_apart(before, engine.provenance())

    assert times is not None
    if server == "triton":
        assert 0 < times["server_ms"] < times["client_ms"]
        assert times["foreign"] == 0
    else:
        assert times["server_ms"] is None


def test_what_the_server_refuses_comes_with_its_reason(engine: RemoteEngine, url: str):
    with pytest.raises(InputError, match=r"status (40|NOT_FOUND)"):
        RemoteEngine.open(url.replace("classifier", "other"))


def test_a_server_that_was_stopped_is_a_failure_with_a_reason(
    server: str, scheme: str, launch: ModuleType, direct: OnnxRuntimeEngine, url: str, tmp_path: Path
):
    signature = launch.signature("input", direct.spec.image_shape, "logits", direct.spec.classes)
    with launch.running(server, assets.model_path(), signature, tmp_path / "second", scheme=scheme) as address:
        engine = RemoteEngine.open(address, policy=Policy(attempts=2, backoff_s=0.01))
        engine.infer(noise(engine, 1))

    with pytest.raises(ServerError, match=r"failed after 2 attempts.*([Rr]efused|closed|UNAVAILABLE)"):
        engine.infer(noise(engine, 1))

    engine.close()
