"""Running the command line in this process, and the embedded engine built once."""

import json
from pathlib import Path

import pytest

from robustmq_trt.cli.main import main


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
