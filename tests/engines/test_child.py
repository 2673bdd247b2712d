"""An engine in a child process gives the same bits, and dies alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from robustmq_trt.core.errors import EngineError, InputError, UnsupportedError
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.child import ChildEngine, Isolation

_ENGINES = '''
import ctypes, os, signal, time
import numpy as np
from robustmq_trt.core.errors import UnsupportedError
from robustmq_trt.engines.audit import Audit
from robustmq_trt.engines.protocol import EngineSpec


class Engine:
    """Does on an image what its first value says."""

    spec = EngineSpec(input_name="x", height=2, width=2, channels=3, layout="nchw", dtype="float32", fixed_batch=None,
                      classes=4, output_kind="logits")

    def infer(self, batch):
        act = batch.ravel()[0]
        if act == 1:
            print("about to read address 0", flush=True)
            ctypes.string_at(0)
        if act == 2:
            time.sleep(1000)
        if act == 3:
            raise RuntimeError("device lost")
        if act == 4:
            np.ones(1 << 31)
        if act == 5:
            return np.ones((1, 3), np.float32)
        if act == 6:
            for descriptor in filter(_is_socket, range(3, 100)):
                os.write(descriptor, b"nonsense" * 64)
            time.sleep(1000)
        return np.tile(batch.reshape(len(batch), -1)[:, :4], 1)

    def audit(self):
        return Audit(backend="test", layers=())

    def provenance(self):
        return {"environment": dict(os.environ), "folder": os.getcwd()}

    def close(self):
        pass


def _is_socket(descriptor):
    import stat
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def good(backend, path, threads, simulate):
    return Engine()


def refusing(backend, path, threads, simulate):
    raise UnsupportedError("Not \\x1b[31mhere.")


def killed(backend, path, threads, simulate):
    os.kill(os.getpid(), signal.SIGKILL)


def lying(backend, path, threads, simulate):
    engine = Engine()
    engine.spec = type("Spec", (), {"to_json": lambda self: {"classes": 3}})()
    return engine
'''
CRASH, HANG, RAISE, DEVOUR, SHORT, NONSENSE = range(1, 7)


@pytest.fixture(scope="module")
def engines_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    (folder / "robustmq_test_engines.py").write_text(_ENGINES)
    return folder


@pytest.fixture
def opened(engines_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ChildEngine]]:
    monkeypatch.setenv("PYTHONPATH", str(engines_path))
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    found: list[ChildEngine] = []

    def open_child(opener: str = "good", call_seconds: float = 20, memory_bytes: int | None = None) -> ChildEngine:
        limits = Isolation(call_seconds=call_seconds, memory_bytes=memory_bytes)
        engine = ChildEngine.open("model.bin", backend="x", limits=limits, opener=f"robustmq_test_engines:{opener}")
        found.append(engine)
        return engine

    yield open_child
    for engine in found:
        engine.close()


def images(act: int = 0, count: int = 2) -> np.ndarray:
    batch = np.random.default_rng(0).normal(size=(count, 3, 2, 2)).astype(np.float32)
    batch[0, 0, 0, 0] = act
    return batch


def test_a_child_gives_the_bits_and_the_audit_of_the_engine_itself(qdq_model: Path):
    batch = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    here, there = open_engine(qdq_model, threads=1), open_engine(qdq_model, threads=1, isolate=Isolation())

    verdicts = [[(layer.name, layer.compute) for layer in engine.audit().layers] for engine in (here, there)]

    assert np.array_equal(here.infer(batch), there.infer(batch))
    assert np.array_equal(here.infer(batch[:1]), there.infer(batch[:1]))
    assert here.spec == there.spec
    assert verdicts[0] == verdicts[1]
    assert there.provenance()["model_sha256"] == here.provenance()["model_sha256"]
    there.close()


def test_a_segmentation_fault_is_an_error_and_the_next_batch_has_a_new_child(opened: Callable[..., ChildEngine]):
    engine = opened()
    before = engine.pid

    with pytest.raises(EngineError, match=r"died in 'infer' .* ended by SIGSEGV.*about to read address 0"):
        engine.infer(images(CRASH))

    assert engine.infer(images()).shape == (2, 4)
    assert engine.pid != before


def test_a_child_killed_from_outside_is_an_error(opened: Callable[..., ChildEngine]):
    engine = opened()
    os.kill(engine.pid, signal.SIGKILL)

    with pytest.raises(EngineError, match="SIGKILL"):
        engine.infer(images())


def test_a_hang_ends_at_its_deadline(opened: Callable[..., ChildEngine]):
    engine = opened(call_seconds=0.5)
    pid, started = engine.pid, time.monotonic()

    with pytest.raises(EngineError, match=r"no answer to 'infer' within 0\.5 s"):
        engine.infer(images(HANG))

    assert time.monotonic() - started < 10
    assert not Path(f"/proc/{pid}").exists()


def test_an_engine_that_dies_again_and_again_is_given_up(opened: Callable[..., ChildEngine]):
    engine = opened()

    for _ in range(3):
        with pytest.raises(EngineError, match="SIGSEGV"):
            engine.infer(images(CRASH))
    with pytest.raises(EngineError, match="died 3 times in a row and is not started again"):
        engine.infer(images())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (RAISE, "RuntimeError: device lost"),
        (DEVOUR, "MemoryError"),
        (SHORT, "shape"),
        (NONSENSE, "a message of [0-9]+ bytes"),
    ],
)
def test_what_else_an_engine_does_wrong_is_an_error(opened: Callable[..., ChildEngine], act: int, message: str):
    engine = opened(memory_bytes=2 << 30)

    with pytest.raises(EngineError, match=message):
        engine.infer(images(act))


def test_two_batches_of_any_size_are_under_way_and_answered_in_order(opened: Callable[..., ChildEngine]):
    engine = opened()
    batches = [images(count=count) + 10 * count for count in (3, 1, 5, 2, 40, 7, 1)]
    found: list[np.ndarray] = []

    engine.submit(batches[0])
    for batch in batches[1:]:
        engine.submit(batch)
        found.append(engine.collect()[0])
    scores, ns = engine.collect()

    for batch, answered in zip(batches, [*found, scores], strict=True):
        assert np.array_equal(answered, batch.reshape(len(batch), -1)[:, :4])
    assert 0 < ns < 1e9
    with pytest.raises(InputError, match="No batch is under way"):
        engine.collect()


def test_a_third_batch_has_to_wait(opened: Callable[..., ChildEngine]):
    engine = opened()
    engine.submit(images())
    engine.submit(images())

    with pytest.raises(InputError, match="at most 2 batches"):
        engine.submit(images())

    assert np.array_equal(engine.infer(images() + 10), (images() + 10).reshape(2, -1)[:, :4])  # not what came before


@pytest.mark.parametrize(("act", "message"), [(CRASH, "SIGSEGV"), (RAISE, "device lost"), (SHORT, "shape")])
def test_a_failure_loses_what_is_under_way_and_nothing_else(opened: Callable[..., ChildEngine], act: int, message: str):
    engine = opened()

    def ask_twice() -> None:
        engine.submit(images(act))
        engine.submit(images() + 10)  # may see that the child is gone
        engine.collect()

    with pytest.raises(EngineError, match=message):
        ask_twice()

    with pytest.raises(InputError, match="No batch is under way"):
        engine.collect()
    assert np.array_equal(engine.infer(images() + 20), (images() + 20).reshape(2, -1)[:, :4])
    engine.submit(images() + 30)
    assert np.array_equal(engine.collect()[0], (images() + 30).reshape(2, -1)[:, :4])


def test_a_refusal_at_the_door_keeps_its_kind_and_loses_its_colours(opened: Callable[..., ChildEngine]):
    with pytest.raises(UnsupportedError, match=r"^Not  \[31mhere\.$"):
        opened("refusing")


@pytest.mark.parametrize(("opener", "message"), [("killed", "died in 'open'.*SIGKILL"), ("lying", "unknown way")])
def test_a_child_that_does_not_open_is_an_error(opened: Callable[..., ChildEngine], opener: str, message: str):
    with pytest.raises(EngineError, match=message):
        opened(opener)


def test_the_child_sees_neither_secrets_nor_the_home_folder(opened: Callable[..., ChildEngine]):
    found = opened().provenance()

    assert "SECRET_TOKEN" not in found["environment"]
    assert found["environment"]["HOME"] == found["folder"] != str(Path.cwd())


def test_the_child_chooses_the_kernels_that_the_parent_would(
    opened: Callable[..., ChildEngine], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")

    assert opened().provenance()["environment"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"


def test_files_handed_over_lie_in_the_child_s_own_folder(engines_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(engines_path))
    opener = "robustmq_test_engines:good"

    engine = ChildEngine.open("x/model.plan", backend="x", files={"model.plan": b"content"}, opener=opener)
    folder = Path(engine.provenance()["folder"])

    assert (folder / "model.plan").read_bytes() == b"content"
    assert folder.stat().st_mode & 0o077 == 0
    engine.close()


def test_nothing_of_the_child_is_left_after_close(opened: Callable[..., ChildEngine]):
    engine = opened()
    pid, folder = engine.pid, Path(engine.provenance()["folder"])

    engine.close()
    engine.close()

    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()
    with pytest.raises(InputError, match="closed"):
        engine.infer(images())


def test_a_child_that_hangs_ends_with_its_parent(engines_path: Path):
    parent = subprocess.Popen(
        [sys.executable, "-c", _HANGING_PARENT],
        env={**os.environ, "PYTHONPATH": str(engines_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = json.loads(parent.stdout.readline())

    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert _gone(pid, seconds=10)


_HANGING_PARENT = """
import numpy as np
from robustmq_trt.engines.child import ChildEngine
engine = ChildEngine.open("model.bin", backend="x", opener="robustmq_test_engines:good")
print(engine.pid, flush=True)
engine.infer(np.full((1, 3, 2, 2), 2, np.float32))
"""


def _gone(pid: int, *, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # dead, and only waiting for whoever reaps orphans here
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
