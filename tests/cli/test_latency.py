"""`latency` from the command line: every target gets its rows, those that could not be measured too."""

import hashlib
import json
import shutil
from typing import Any

import pytest

from robustmq_trt import assets
from robustmq_trt.cli import isolation
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.child import ChildEngine

SHORT = ("--seconds", "0.05", "--images", "4", "--threads", "1")


def test_every_target_gets_its_energy_or_the_reason_for_none(command):
    code, out, err = command("latency", assets.model_path(), *SHORT, "--json")

    assert code == 0, err
    rows = json.loads(out)["energy"]
    assert [row["source"] for row in rows][:1] == ["RAPL"]
    assert all((row["per_image"] is None) == bool(row["reason"]) for row in rows)


def test_the_text_has_a_line_of_energy(command):
    code, out, err = command("latency", assets.model_path(), *SHORT)

    assert code == 0, err
    assert any("by RAPL" in line for line in out.splitlines())


def test_a_file_that_cannot_be_used_is_passed_over(command, tmp_path):
    shutil.copytree(assets.images_dir("eval"), tmp_path / "data")
    names = [path.relative_to(tmp_path / "data").as_posix() for path in sorted((tmp_path / "data").rglob("*.jpg"))[:3]]
    good = hashlib.sha256((tmp_path / "data" / names[1]).read_bytes()).hexdigest()
    rows = [f"{names[0]},0,{'0' * 64}", f"{names[1]},0,{good}"]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,sha256", *rows]))

    code, out, _ = command(
        *("latency", assets.model_path(), "--data", tmp_path / "data", "--labels", tmp_path / "labels.csv"),
        *("--seconds", "0.01", "--json"),
    )

    assert code == 0
    assert json.loads(out)["timings"]


@pytest.fixture
def three(engines, tmp_path):
    """Three files, the middle one INT8."""
    shutil.copy(engines / "embedded.fp32.onnx", tmp_path / "third.onnx")
    return engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx", tmp_path / "third.onnx"


def test_an_engine_that_fails_midway_is_a_row_with_the_reason_among_the_others(command, three, fragile):
    fragile(three[1], 30)

    code, out, err = command("latency", *three, *SHORT, "--json")

    assert code == 3, err
    rows = {(row["engine"], row["scenario"], row["scope"]): row for row in json.loads(out)["timings"]}
    assert len(rows) == 12
    assert {row["reason"] for (name, *_), row in rows.items() if name == "embedded.w8a8"} == {
        "failed: The engine died."
    }
    assert all(row["statistics"] for (name, *_), row in rows.items() if name != "embedded.w8a8")


def test_a_failed_engine_is_printed_with_its_reason(command, three, fragile):
    fragile(three[1], 30)

    code, out, _ = command("latency", *three, *SHORT)

    assert code == 3
    assert len([line for line in out.splitlines() if line.startswith("embedded.w8a8 ") and "failed: " in line]) == 4
    assert len([line for line in out.splitlines() if line.startswith("third ") and "stable" in line]) == 4
    assert "nan" not in out


_MORTAL = '''
import ctypes
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine


class Mortal:
    """Dies at its 60th call."""

    def __init__(self, path):
        self._engine, self._calls = OnnxRuntimeEngine.open(path, threads=1), 0
        self.spec, self.audit, self.provenance = self._engine.spec, self._engine.audit, self._engine.provenance

    def infer(self, batch):
        self._calls += 1
        if self._calls == 60:
            ctypes.string_at(0)
        return self._engine.infer(batch)


def mortal(backend, path, threads, simulate):
    return Mortal(path)
'''


def test_a_process_that_dies_while_it_is_timed_costs_its_own_figures(command, three, tmp_path, monkeypatch):
    (tmp_path / "robustmq_mortal.py").write_text(_MORTAL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def opened(target: str, **settings: Any) -> Any:
        if target != str(three[1]):
            return open_engine(target, threads=1)
        return ChildEngine.open(target, backend="onnxruntime", opener="robustmq_mortal:mortal")

    monkeypatch.setattr(isolation, "open_engine", opened)

    code, out, err = command("latency", *three[:2], *SHORT, "--isolate", "--json")

    assert code == 3, err
    first, second = json.loads(out)["timings"][:2]
    assert first["statistics"]
    assert "SIGSEGV" in second["reason"]
