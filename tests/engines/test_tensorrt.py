"""The TensorRT backend against a stand-in that has exactly the names of each real version. No GPU takes part."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from robustmq_trt.core.artifact import Card, write_card
from robustmq_trt.core.errors import EngineError, InputError, RefusedError, RobustMQError, UnsupportedError
from robustmq_trt.core.files import sha256_file
from robustmq_trt.engines import cuda_driver, tensorrt_module
from robustmq_trt.engines.catalog import doctor, open_engine
from robustmq_trt.engines.cuda_driver import Gpu
from robustmq_trt.engines.tensorrt import TensorRtEngine
from robustmq_trt.engines.tensorrt_build import BuildSettings, build_plan
from robustmq_trt.engines.tensorrt_module import Ready

VERSIONS = ["8.6.1", "10.16.1.11", "11.4.0.106"]
GPU = Gpu(name="Some GPU", capability="9.0", cuda="12.8")


@pytest.fixture(scope="module")
def fake() -> ModuleType:
    import importlib.util

    spec = importlib.util.spec_from_file_location("fake_tensorrt", Path(__file__).parent / "fake_tensorrt.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=VERSIONS)
def here(request: pytest.FixtureRequest, fake: ModuleType) -> Ready:
    return Ready(fake.module(request.param), GPU, request.param)


@pytest.fixture
def build(here: Ready, qdq_model: Path) -> Callable[..., Path]:
    def make(content: bytes | None = None, **settings: Any) -> Path:
        made = BuildSettings(**{"batches": (2, 4, 8), **settings})
        plan, _, _ = build_plan(here, content or qdq_model.read_bytes(), made, b"", lambda told: None)
        path = qdq_model.with_suffix(".plan")
        path.write_bytes(plan)
        return path

    return make


def opened(path: Path, here: Ready, memory: Any, *, graph: bool = False) -> TensorRtEngine:
    return TensorRtEngine(path, here, memory, graph=graph)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 3, 8, 8)).astype(np.float32)


def test_a_version_types_strongly_where_it_can_and_flags_int8_where_it_cannot(build, here: Ready):
    build()

    seen = here.trt._seen
    strong = 1 << int(getattr(here.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", 30))
    assert bool(seen["network_flags"] & strong) == (here.version != "8.6.1")
    assert seen["flags"] == ({"INT8"} if here.version == "8.6.1" else set())


def test_half_precision_is_set_where_it_exists_and_refused_where_not(build, here: Ready):
    if here.version.startswith("11"):
        with pytest.raises(UnsupportedError, match="no half-precision switch"):
            build(fp16=True)
    else:
        build(fp16=True, tf32=True)

        assert here.trt._seen["flags"] == {"INT8", "FP16", "TF32"}


def test_the_batch_is_opened_from_smallest_to_largest(build, here: Ready):
    build()

    assert here.trt._seen["shapes"] == [[2, 3, 8, 8], [4, 3, 8, 8], [8, 3, 8, 8]]


def test_the_timing_cache_is_used_and_renewed(here: Ready, qdq_model: Path):
    _, cache, typing = build_plan(here, qdq_model.read_bytes(), BuildSettings(), b"old", lambda told: None)

    assert cache == b"old+"
    assert typing == ("weak" if here.version == "8.6.1" else "strong")


def test_progress_is_told_where_the_version_tells_it(here: Ready, qdq_model: Path):
    told: list[Any] = []

    build_plan(here, qdq_model.read_bytes(), BuildSettings(), b"", told.append)

    assert told == ([] if here.version == "8.6.1" else [{"phase": "Building", "step": 1, "steps": 2}])


def test_what_the_parser_says_is_the_users_message(build):
    with pytest.raises(
        InputError, match=r"cannot parse the model: node 7: Assertion failed: shiftIsAllZeros \(zeroPoint\)"
    ):
        build(content=b"Unparsable")


def test_a_failed_build_names_the_reason(build, here: Ready):
    here.trt._fail_build = True

    with pytest.raises(
        EngineError, match="could not build the engine: Could not find any implementation for node conv"
    ):
        build()


def test_where_tensorrt_does_not_start_its_complaint_is_said(build, here: Ready):
    def refuse(logger: Any) -> None:
        logger.log(here.trt.ILogger.ERROR, "CUDA initialization failure with error: 35.")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    here.trt.Builder = refuse

    with pytest.raises(UnsupportedError, match=r"not start on Some GPU: CUDA .* error: 35\. The driver runs .* 12\.8;"):
        build()


@pytest.mark.parametrize("batches", [(0, 1, 2), (4, 2, 8), (1, 9, 8)])
def test_impossible_batches_are_refused(batches: tuple[int, int, int]):
    with pytest.raises(InputError, match="Expected batches"):
        BuildSettings(batches=batches)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("count", [1, 2, 8, 9, 21])
def test_scores_are_those_of_the_file_at_every_batch(
    build, here: Ready, fake, qdq_model: Path, count: int, graph: bool
):
    path, memory = build(), fake.HostMemory()
    engine = opened(path, here, memory, graph=graph)
    (expected,) = ort.InferenceSession(qdq_model, providers=["CPUExecutionProvider"]).run(None, {"x": images(count)})

    scores = engine.infer(images(count))

    assert np.array_equal(scores, expected)
    assert scores.dtype == np.float32
    assert all(2 <= batch <= 8 for batch in here.trt._seen["batches"])
    assert (memory.captured > 0) == (memory.launched > 0) == graph


def test_a_graph_is_captured_anew_when_the_context_was_changed(
    build, here: Ready, fake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("robustmq_trt.engines.tensorrt.provider", lambda: "cuda-python")
    memory = fake.HostMemory()
    engine = opened(build(), here, memory, graph=True)
    seen = []

    for count in (8, 8, 4, 4, 8):
        engine.infer(images(count))
        seen.append(memory.captured)
    engine.audit()
    engine.infer(images(8))

    assert seen == [1, 1, 2, 2, 3]
    assert memory.captured == 4


def test_a_failing_batch_leaves_nothing_for_the_next(build, here: Ready, fake):
    engine = opened(build(), here, fake.HostMemory())
    expected = engine.infer(images(3))
    here.trt._fail_run = True
    with pytest.raises(EngineError, match="could not start a batch"):
        engine.infer(images(21))
    here.trt._fail_run = False

    assert np.array_equal(engine.infer(images(3)), expected)


def test_kernel_times_are_the_events_alone(build, here: Ready, fake):
    assert opened(build(), here, fake.HostMemory()).device_milliseconds(images(4), 20) == [0.5] * 20


def test_a_plan_that_is_none_is_refused_with_the_way_out(here: Ready, fake, tmp_path: Path):
    (tmp_path / "x.plan").write_bytes(b"no plan at all")

    with pytest.raises(InputError, match=r"cannot load 'x\.plan': Serialization assertion .* robustmq-trt plan MODEL"):
        opened(tmp_path / "x.plan", here, fake.HostMemory())


@pytest.mark.parametrize("built", [{"tensorrt": "9.9.9"}, {"gpu": {"name": "Other GPU", "capability": "7.5"}}])
def test_a_plan_for_another_gpu_or_version_says_which(build, here: Ready, fake, built: dict[str, Any]):
    path = build()
    recipe = {"tensorrt": here.version, "gpu": GPU.to_json(), **built}
    write_card(path, _card(path, recipe))

    with pytest.raises(
        UnsupportedError, match=rf"built by TensorRT .* here is TensorRT {here.version} on Some GPU \(9\.0\)"
    ):
        opened(path, here, fake.HostMemory())


def test_the_card_says_what_the_scores_are(build, here: Ready, fake):
    path = build()
    write_card(path, _card(path, {"output_kind": "probabilities"}))

    assert opened(path, here, fake.HostMemory()).spec.output_kind == "probabilities"


def test_no_memory_on_the_gpu_is_an_error(build, here: Ready, fake):
    path = build()
    here.trt._out_of_memory = True

    with pytest.raises(EngineError, match="no memory to run"):
        opened(path, here, fake.HostMemory())


def test_close_frees_and_ends_inference(build, here: Ready, fake):
    memory = fake.HostMemory()
    engine = opened(build(), here, memory)
    engine.close()
    engine.close()

    assert memory.held == []
    with pytest.raises(InputError, match="closed"):
        engine.infer(images(2))


def test_provenance_is_json_and_states_that_host_code_is_off(build, here: Ready, fake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("robustmq_trt.engines.tensorrt.provider", lambda: "cuda-python")
    found = json.loads(json.dumps(opened(build(), here, fake.HostMemory()).provenance()))

    assert (found["backend"], found["host_code_allowed"], found["batch"]) == ("tensorrt", False, [2, 4, 8])


def test_no_driver_is_said_before_anything_is_created(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_driver, "_LIBRARY", "libno_such_driver.so.1")

    with pytest.raises(UnsupportedError, match=r"No NVIDIA driver: libno_such_driver\.so\.1 cannot be loaded"):
        tensorrt_module.ready()


def test_no_module_comes_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)

    with pytest.raises(UnsupportedError, match=r"not importable.*pip install 'robustmq-trt\[tensorrt\]'"):
        tensorrt_module.load()


def test_an_old_module_is_refused_by_its_version(monkeypatch: pytest.MonkeyPatch):
    old = ModuleType("tensorrt")
    old.__version__ = "8.5.3"
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", old)

    with pytest.raises(UnsupportedError, match=r"8\.5\.3 is older than 8\.6"):
        tensorrt_module.load()


def test_a_plan_without_trust_is_refused_before_anything_reads_it(tmp_path: Path):
    path = tmp_path / "vendor.plan"
    path.write_bytes(b"anything")

    with pytest.raises(RefusedError, match=f"native code.*--trust-engine sha256:{sha256_file(path)}"):
        open_engine(path)
    with pytest.raises(RefusedError):
        open_engine(path, trust=["sha256:" + "0" * 64])
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        open_engine(path, trust=["deadbeef"])


def test_doctor_gives_every_reason_and_the_install_line():
    status = next(status for status in doctor() if status.name == "tensorrt")

    if not status.works:
        assert "tensorrt" in status.reason or "driver" in status.reason
    assert status.install == "pip install 'robustmq-trt[tensorrt]'"
    assert status.suffixes == (".plan", ".engine")


def test_a_simulation_of_a_plan_is_refused(tmp_path: Path):
    with pytest.raises(RobustMQError, match="no Q/DQ to simulate"):
        TensorRtEngine.open(tmp_path / "x.plan", simulate=True)


def _card(path: Path, recipe: dict[str, Any]) -> Card:
    size = path.stat().st_size
    return Card(file=path.name, sha256=sha256_file(path), size_bytes=size, kind="plan", precision="w8a8", recipe=recipe)
