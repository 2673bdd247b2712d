from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from robustmq_trt.assets import model_path

RUN = "import onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"


def traces(script: str, home: Path) -> list[str]:
    """Open the embedded model with an empty home and give what was written there."""
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}  # ONNX Runtime is silent where CI is set
    command = [sys.executable, "-c", script, str(model_path())]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return [path.name for path in home.rglob("*") if path.is_file()]


def test_onnx_runtime_reports_to_nobody_what_it_runs(tmp_path):
    assert traces("import robustmq_trt; " + RUN, tmp_path / "ours") == []


def test_onnx_runtime_alone_keeps_an_identity_of_the_machine(tmp_path):
    """The control: once this fails, there is nothing to switch off any more."""
    assert "deviceid" in traces(RUN, tmp_path / "plain")
