"""Running the command line in this process, and the embedded engine built once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustmq_trt.cli import targets
from robustmq_trt.cli.main import main
from robustmq_trt.core.errors import EngineError
from robustmq_trt.core.files import sha256_file
from robustmq_trt.engines.protocol import Batch, Engine
from robustmq_trt.engines.selftest import SelfTest, self_test


@pytest.fixture
def command(capsys):
    """Run a command line; gives (exit code, stdout, stderr)."""

    def run(*argv: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as leaving:  # argparse's own refusals
            code = int(leaving.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def refused(command):
    """Run a command line that must be refused in a sentence; gives that sentence."""

    def run(*argv: object, code: int = 2) -> str:
        got, out, err = command(*argv)
        assert got == code, (got, out, err)
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture(scope="session")
def engines(tmp_path_factory) -> Path:
    """Folder with the embedded model, float and INT8."""
    folder = tmp_path_factory.mktemp("engines")
    assert main(["build", "-o", str(folder), "--calib-size", "32", "--quiet"]) == 0
    return folder


@pytest.fixture(scope="session")
def built(engines) -> dict[str, object]:
    """The INT8 model's card."""
    return json.loads((engines / "embedded.w8a8.onnx.card.json").read_text())


@pytest.fixture
def fragile(monkeypatch):
    """Let the engine of a file die: it answers some calls after its self-test, then none; None: not even those."""

    def break_off(file: Path, calls: int | None) -> None:
        def tested(engine: Engine, *arguments: Any) -> SelfTest:
            if engine.provenance()["model_sha256"] != sha256_file(file):
                return self_test(engine, *arguments)
            found = None if calls is None else self_test(engine, *arguments)
            answer, left = engine.infer, iter(range(calls or 0))

            def infer(batch: Batch) -> NDArray[np.float32]:
                if next(left, None) is None:
                    raise EngineError("The engine died.")
                return answer(batch)

            monkeypatch.setattr(engine, "infer", infer)
            return found or self_test(engine, *arguments)

        monkeypatch.setattr(targets, "self_test", tested)

    return break_off
