"""A run goes on when one of its engines dies, and says so."""

import json
from pathlib import Path
from typing import Any

import pytest

from robustmq_trt import assets
from robustmq_trt.cli import isolation
from robustmq_trt.cli.main import main
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.child import ChildEngine

_FRAGILE = '''
import ctypes
import numpy as np
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine


class Fragile:
    """Dies on bright images."""

    def __init__(self, path):
        self._engine = OnnxRuntimeEngine.open(path, threads=1)
        self.spec, self.audit, self.provenance = self._engine.spec, self._engine.audit, self._engine.provenance

    def infer(self, batch):
        if np.mean(batch) > 1.2:
            ctypes.string_at(0)
        return self._engine.infer(batch)


def fragile(backend, path, threads, simulate):
    return Fragile(path)
'''


def test_a_crash_fails_its_cell_and_the_run_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "robustmq_fragile.py").write_text(_FRAGILE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    opened = []

    def open_second_in_a_fragile_child(target: str, **settings: Any) -> Any:
        opened.append(target)
        if len(opened) == 1:
            return open_engine(target, threads=1)
        return ChildEngine.open(target, backend="onnxruntime", opener="robustmq_fragile:fragile")

    monkeypatch.setattr(isolation, "open_engine", open_second_in_a_fragile_child)
    second = tmp_path / "second.onnx"
    second.write_bytes(assets.model_path().read_bytes())
    command = [
        "evaluate",
        str(assets.model_path()),
        str(second),
        "--data",
        str(assets.images_dir("eval")),
        "--images",
        "6",
    ]
    conditions = ["--corruption", "brightness:5", "--corruption", "gaussian_noise:1", "--latency", "0", "--isolate"]

    code = main([*command, *conditions, "-o", str(tmp_path / "run"), "--json", "--quiet"])

    document = json.loads(capsys.readouterr().out)
    found = {(record["engine"], record["condition"]) for record in document["records"]}
    assert code == 3
    assert document["totals"]["failed"] == 1
    assert {condition for engine, condition in found if engine == "second"} == {"clean", "gaussian_noise:1"}
    assert {condition for engine, condition in found if engine != "second"} >= {"clean", "brightness:5"}
    assert "SIGSEGV" in (tmp_path / "run" / "report.html").read_text()


def test_isolated_engines_give_the_rows_of_plain_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["evaluate", str(assets.model_path()), "--data", str(assets.images_dir("eval")), "--images", "9"]
    attacks = ["--attack", "square:eps=8,queries=40", "--attack", "rays:eps=8,queries=40"]
    conditions = ["--corruption", "gaussian_noise:1", *attacks]
    plain = [*command, *conditions, "--latency", "0", "--json", "--quiet", "-o"]

    rows = []
    for name, flags in (("plain", []), ("apart", ["--deadline", "100"])):
        assert main([*plain, str(tmp_path / name), *flags]) == 0
        rows.append(json.loads(capsys.readouterr().out)["records"])

    assert rows[0] == rows[1]
