"""What the README tells a user to type works as it stands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from robustmq_trt import assets

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
TOUR = re.search(r"```sh\n(.*?)```", README, re.DOTALL).group(1).strip().splitlines()
SETUPS = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folder of a user with a model, calibration images and labelled images."""
    folder = tmp_path_factory.mktemp("tour")
    shutil.copy(assets.model_path(), folder / "model.onnx")
    shutil.copytree(assets.images_dir("calib"), folder / "calibration")
    shutil.copytree(assets.images_dir("eval"), folder / "images")
    return folder


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


def test_the_tour_has_ten_lines():
    assert len(TOUR) == 10


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_every_line_of_the_tour_works(workplace, number):
    result = shell(TOUR[number], workplace)

    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_tour_leaves_what_it_promises(workplace):
    assert (workplace / "run" / "report.html").stat().st_size > 20_000
    assert json.loads((workplace / "shift.json").read_text())["totals"]["failed"] == 0


def test_the_two_commands_are_one_line_each_and_install_with_the_constraints():
    assert len(SETUPS) == 2
    assert all("-c constraints.txt" in command for command in SETUPS)
    assert SETUPS[0].endswith("robustmq-trt demo")
    assert "/pytest -n auto" in SETUPS[1]


@pytest.mark.slow
def test_the_demo_ends_with_the_path_of_its_report(tmp_path):
    result = shell("robustmq-trt demo", tmp_path)

    assert result.returncode == 0, result.stderr
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("report: ")
    assert (tmp_path / last.removeprefix("report: ")).is_file()
