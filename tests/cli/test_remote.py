"""The command line on a server: evaluate beside the file it serves, a server that dies, a model that is replaced."""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from robustmq_trt import assets
from robustmq_trt.core.store import Store
from robustmq_trt.engines import remote
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine

IMAGES = 16
DATA = ("--data", assets.images_dir("eval"), "--images", str(IMAGES), "--threads", "1", "--latency", "0")


def loaded(name: str) -> ModuleType:
    """Import a module that lies beside the engines' tests."""
    path = Path(__file__).resolve().parents[1] / "engines" / f"{name}.py"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def v2() -> ModuleType:
    return loaded("v2_server")


@pytest.fixture
def service(v2: ModuleType):
    """The embedded classifier behind the small server; `spoil` may hold what is done to its scores."""
    engine = OnnxRuntimeEngine.open(assets.model_path(), threads=1)
    spoil: list[Callable[[np.ndarray], np.ndarray]] = []

    def score(images: np.ndarray) -> np.ndarray:
        scores = engine.infer(np.array(images))
        return spoil[0](scores) if spoil else scores

    found = v2.Service(score=score, shape=[-1, *engine.spec.image_shape], classes=engine.spec.classes, name="embedded")
    found.spoil = spoil
    return found


@pytest.fixture
def url(v2: ModuleType, service, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    hasty = functools.partial(remote.Policy, attempts=2, backoff_s=0.001, cooldown_s=1e-3)
    monkeypatch.setattr(remote, "Policy", hasty)
    with v2.served(service) as address:
        yield f"v2:{address}"


def test_a_server_gets_the_rows_of_the_file_it_serves(command, url: str, tmp_path: Path):
    attack = ("--attack", "square:eps=8,queries=30", "--attack", "mifgsm:eps=2")

    code, out, err = command("evaluate", assets.model_path(), url, *DATA, *attack, "-o", tmp_path, "--json")

    assert code == 0, err
    records = json.loads(out)["records"]
    of = {
        name: {(r["condition"], r["metric"]): r["value"] for r in records if r["engine"] == name}
        for name in ("model", "embedded (v2)")
    }
    assert of["embedded (v2)"].items() >= of["model"].items()
    target = json.loads((tmp_path / "report.json").read_text())["targets"][1]
    assert target["file"] == url.removeprefix("v2:")
    assert target["engine"] == "remote 0 (in-process)"
    assert target["integer_coverage"] is None


def test_a_server_over_grpc_gets_the_same_rows(command, service, tmp_path: Path):
    grpc_v2 = loaded("grpc_server")
    other = grpc_v2.Service(score=service.score, shape=service.shape, classes=service.classes, name="embedded")

    with grpc_v2.served(other) as url:
        attack = ("--attack", "square:eps=8,queries=20")
        code, out, err = command("evaluate", assets.model_path(), url, *DATA, *attack, "-o", tmp_path, "--json")

    assert code == 0, err
    records = json.loads(out)["records"]
    of = {
        name: {(r["condition"], r["metric"]): r["value"] for r in records if r["engine"] == name}
        for name in {r["engine"] for r in records}
    }
    (remote_name,) = of.keys() - {"model"}
    assert of[remote_name].items() >= of["model"].items()
    assert json.loads((tmp_path / "report.json").read_text())["targets"][1]["file"] == url


def test_no_server_behind_grpc_is_a_sentence(refused, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "Policy", functools.partial(remote.Policy, attempts=2, backoff_s=0.001))

    assert "UNAVAILABLE" in refused("audit", "v2+grpc://127.0.0.1:1/net")


def test_a_server_alone_can_be_queried_but_gives_no_gradients(command, url: str, tmp_path: Path):
    attack = ("--attack", "square:eps=8,queries=10", "--attack", "mifgsm:eps=2")

    code, out, err = command("evaluate", url, *DATA, *attack, "-o", tmp_path, "--json")

    assert code == 0, err
    totals = json.loads(out)["totals"]
    assert (totals["measured"], totals["skipped"], totals["failed"]) == (2, 1, 0)
    assert "--surrogate" in totals["reasons"][0]["reason"]


def test_a_server_that_dies_fails_its_cells_and_the_run_goes_on_where_it_was(
    command, service, url: str, tmp_path: Path
):
    conditions = ("--corruption", "jpeg:3", "--attack", "square:eps=8,queries=20")
    whole = command("evaluate", assets.model_path(), url, *DATA, *conditions, "-o", tmp_path / "whole", "--json")[1]
    asked = sum(service.sizes)
    alive = [
        sum(method == "POST" for method, _, _ in service.requests) - 10
    ]  # the attack comes last, and asks 20 times

    def dying(method: str, path: str, status: int, headers: dict[str, str], body: bytes):
        alive[0] -= method == "POST"
        return (503, {}, b'{"error": "out of service"}') if alive[0] < 0 else (status, headers, body)

    service.bend = dying
    argv = ("evaluate", assets.model_path(), url, *DATA, *conditions, "-o", tmp_path / "broken", "--json")
    code, out, err = command(*argv)
    assert code == 3, err
    totals = json.loads(out)["totals"]
    assert (totals["measured"], totals["failed"]) == (5, 1)
    assert "out of service" in totals["reasons"][0]["reason"]

    service.bend = None
    before = sum(service.sizes)
    code, out, err = command(*argv)

    assert code == 0, err
    assert json.loads(out)["records"] == json.loads(whole)["records"]
    assert sum(service.sizes) - before < asked  # what was measured is not asked again


def test_a_replaced_model_ends_the_run_and_its_cell_is_not_stored(command, service, url: str, tmp_path: Path):
    command("evaluate", url, *DATA, "--corruption", "jpeg:1", "-o", tmp_path / "first", "--json")
    opening = sum(service.sizes) - 2 * (IMAGES + 4)  # two cells, each with a look at the probes behind it
    service.sizes.clear()
    service.spoil.append(lambda scores: scores * 1.05 if sum(service.sizes) > opening + IMAGES + 4 else scores)

    code, out, err = command("evaluate", url, *DATA, "--corruption", "jpeg:1", "-o", tmp_path / "second", "--json")

    assert code == 3
    assert "has changed since the run began" in err
    assert "Traceback" not in err
    assert json.loads(out)["kind"] == "TargetChangedError"
    with Store(tmp_path / "second" / "results.sqlite") as store:
        assert [task.condition for task in store.tasks()] == ["clean"]


def test_latency_tells_the_servers_time_apart(command, url: str):
    code, out, err = command("latency", url, "--seconds", "0.02", "--json", "--images", "4")

    assert code == 0, err
    times = json.loads(out)["servers"]["embedded (v2)"]
    assert times["server_ms"] == pytest.approx(1.0)
    assert times["foreign"] == 0


def test_audit_says_unprovable_and_fails_a_required_coverage(command, refused, url: str):
    code, out, _ = command("audit", url)

    assert code == 0
    assert "integer coverage unprovable" in out
    assert "unprovable, below the required" in refused("audit", url, "--require-integer", "0.5", code=1)
    assert json.loads(command("audit", url, "--json")[1])["integer_coverage"] is None


def test_doctor_knows_servers(command):
    _, out, _ = command("doctor")

    assert "v2:http://, v2:https://" in out


def test_no_server_is_a_sentence(refused, v2: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "Policy", functools.partial(remote.Policy, attempts=2, backoff_s=0.001))
    with v2.raw_server(lambda *_: None) as origin:
        pass

    assert "connection refused" in refused("audit", f"v2:{origin}/model")
    assert "v2:http://HOST:PORT/MODEL" in refused("audit", "v2:http://host")


def test_the_token_stands_in_nothing_that_is_written(
    command, service, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ROBUSTMQ_TOKEN", "s3cret-t0ken")
    service.token = "s3cret-t0ken"

    code, out, err = command("evaluate", url, *DATA, "--corruption", "jpeg:1", "-o", tmp_path, "--json")

    assert code == 0, err
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"s3cret-t0ken" not in written + out.encode() + err.encode()
