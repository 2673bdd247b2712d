"""`plan`: what it says where no plan can be built, and the walk with the builder's child replaced."""

import importlib.util
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from robustmq_trt import assets
from robustmq_trt.cli import isolation, plan
from robustmq_trt.cli.main import main
from robustmq_trt.core.artifact import read_card
from robustmq_trt.core.files import sha256_file
from robustmq_trt.engines.audit import Audit, LayerVerdict
from robustmq_trt.engines.cuda_driver import Gpu, find_gpu
from robustmq_trt.engines.tensorrt import TensorRtEngine
from robustmq_trt.engines.tensorrt_build import BuildSettings, build_plan
from robustmq_trt.engines.tensorrt_module import Ready

TESTS = Path(__file__).resolve().parents[1]


def test_without_a_driver_nothing_is_written_and_the_reason_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    try:
        find_gpu()
    except Exception as error:
        reason = str(error)
    else:
        pytest.skip("there is a GPU here")
    output = tmp_path / "out" / "model.plan"

    code = main(["plan", str(assets.model_path()), "-o", str(output), "--json"])

    assert code == 2
    assert json.loads(capsys.readouterr().out)["error"] == reason
    assert not output.exists()


@pytest.mark.parametrize("flag", [["--batches", "8"], ["--batches", "8,1,2"], ["--level", "9"]])
def test_impossible_settings_are_usage_errors(tmp_path: Path, flag: list[str]):
    try:
        code = main(["plan", str(assets.model_path()), "-o", str(tmp_path / "x.plan"), *flag])
    except SystemExit as stop:
        code = stop.code

    assert code == 2


class _Builder:
    """Does what the builder's child does, without TensorRT."""

    asked: ClassVar[list[dict[str, Any]]] = []
    place: ClassVar[str] = ""

    def __init__(self, name: str, *, files: dict[str, bytes]) -> None:
        self.folder, self.files = Path(_Builder.place), files
        _Builder.asked = []

    def call(self, name: str, task: dict[str, Any], *, seconds: float, progress: Any) -> Any:
        _Builder.asked.append(task)
        progress({"phase": "Building", "step": 1, "steps": 2})
        if "timing" in task["function"]:
            return {"8": {"p50_ms": 0.25, "p90_ms": 0.3, "p99_ms": 0.4, "runs": 200}}
        (self.folder / "engine.plan").write_bytes(b"a plan")
        (self.folder / "timing.cache").write_bytes(self.files["timing.cache"] + b"+")
        gpu = {"name": "Some GPU", "capability": "9.0", "cuda": "12.8"}
        return {"tensorrt": "11.4", "gpu": gpu, "typing": "strong", "settings": task["arguments"]["settings"]}

    def kill(self) -> None:
        pass


class _Opened:
    def audit(self) -> Audit:
        return Audit(
            backend="tensorrt",
            layers=[LayerVerdict(name="conv", operator="Convolution", kernel="imma", macs=10, compute="integer")],
        )

    def close(self) -> None:
        pass


def test_a_plan_its_card_and_its_trust_line_come_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    trusted: list[str] = []

    def open_engine(path: Path, *, isolate: Any, trust: list[str]) -> _Opened:
        trusted.extend(trust)
        return _Opened()

    (tmp_path / "child").mkdir()
    monkeypatch.setattr(_Builder, "place", str(tmp_path / "child"))
    monkeypatch.setattr(plan, "ChildProcess", _Builder)
    monkeypatch.setattr(plan, "open_engine", open_engine)
    output, cache = tmp_path / "model.plan", tmp_path / "timing.cache"
    arguments = [
        "plan",
        str(assets.model_path()),
        "-o",
        str(output),
        "--timing-cache",
        str(cache),
        "--batches",
        "1,2,4",
    ]

    assert main([*arguments, "--quiet"]) == 0

    card = read_card(output)
    assert card is not None
    assert card.kind == "plan"
    assert (card.recipe["tensorrt"], card.recipe["output_kind"]) == ("11.4", "logits")
    assert card.audit["integer_coverage"] == 1.0
    assert cache.read_bytes() == b"+"
    assert trusted == [f"sha256:{sha256_file(output)}"]
    assert f"--trust-engine sha256:{sha256_file(output)}" in capsys.readouterr().out
    assert _Builder.asked[0]["arguments"]["settings"]["batches"] == (1, 2, 4)


def test_a_plan_is_evaluated_like_any_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """TensorRT's module and the GPU's memory are stand-ins; everything between them and the report is not."""
    spec = importlib.util.spec_from_file_location("fake_tensorrt", TESTS / "engines" / "fake_tensorrt.py")
    assert spec is not None
    assert spec.loader is not None
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    here = Ready(fake.module("11.4.0.106"), Gpu(name="Some GPU", capability="9.0", cuda="13.0"), "11.4.0.106")
    built, _, _ = build_plan(here, assets.model_path().read_bytes(), BuildSettings(), b"", lambda told: None)
    path = tmp_path / "model.plan"
    path.write_bytes(built)
    monkeypatch.setattr("robustmq_trt.engines.tensorrt.provider", lambda: "cuda-python")
    monkeypatch.setattr(
        isolation, "open_engine", lambda target, **_: TensorRtEngine(Path(target), here, fake.HostMemory(), graph=False)
    )
    data = ["--data", str(assets.images_dir("eval")), "--images", "6", "--latency", "0"]

    code = main(
        ["evaluate", str(path), *data, "--corruption", "gaussian_noise:1", "-o", str(tmp_path / "run"), "--json"]
    )

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert {record["engine"] for record in document["records"]} == {"model.plan"}
    assert "Some GPU, compute capability 9.0" in (tmp_path / "run" / "report.html").read_text()
