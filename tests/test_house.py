"""The house holds: every package is listed, imports run down only, siblings stay apart, the tools are content."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FLOORS = [{"core", "assets"}, {"inputs", "export", "calib", "engines", "report"}, {"evaluate"}, {"cli"}]
FLOOR_OF = {folder: floor for floor, folders in enumerate(FLOORS) for folder in folders}
NO_PACKAGES = {"tests", "benchmarks", "tools", "build", "dist"}
SOURCES = sorted(path for folder in FLOOR_OF for path in (ROOT / folder).rglob("*.py"))


def run_tool(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=environment.pop("cwd", str(ROOT)),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def imported_folders(path: Path) -> set[str]:
    """Top-level folders of the package that a file imports, however it spells it."""
    inside = path.relative_to(ROOT).parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = inside[: len(inside) - node.level]
            parts = [*base, *(node.module or "").split(".")]
            names = [parts[0]] if parts[0] else [alias.name for alias in node.names]
            found.update(names)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(module.startswith("robustmq_trt") for module in modules), f"{path}: import relatively"
    return found & set(FLOOR_OF)


def test_every_package_folder_is_listed():
    folders = {path.parent.relative_to(ROOT) for path in ROOT.rglob("__init__.py")}
    packages = {folder for folder in folders if not {*folder.parts} & NO_PACKAGES and not str(folder).startswith(".v")}
    expected = {".".join(["robustmq_trt", *folder.parts]) for folder in packages}

    assert set(PROJECT["tool"]["setuptools"]["packages"]) == expected


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_down_and_siblings_stay_apart(path):
    own = path.relative_to(ROOT).parts[0]

    for other in imported_folders(path) - {own}:
        assert FLOOR_OF[other] < FLOOR_OF[own], f"{own} may not import {other}"


def test_core_imports_nothing_but_numpy_and_the_standard_library():
    allowed = {"numpy", *sys.stdlib_module_names}
    for path in (ROOT / "core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, path


def test_files_stay_small_enough_to_hold_one_idea():
    long = {str(path.relative_to(ROOT)): count for path in SOURCES if (count := path.read_text().count("\n")) > 330}

    assert long == {}


def test_the_command_line_starts_without_a_heavy_runtime():
    script = (
        "import sys, robustmq_trt.cli.main as m; m._parser();"
        "print([n for n in ('torch', 'onnxruntime', 'tensorrt', 'openvino') if n in sys.modules])"
    )

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [("ruff", "format", "--check", "."), ("ruff", "check", ".")])
def test_ruff_is_content(command):
    result = run_tool(*command)

    assert result.returncode == 0, result.stdout + result.stderr


def test_mypy_is_content_in_strict_mode(tmp_path):
    # mypy finds packages by folder name; the checkout may have any, so it is looked at through a link.
    (tmp_path / "robustmq_trt").symlink_to(ROOT)
    packages = [option for folder in sorted(FLOOR_OF) for option in ("-p", f"robustmq_trt.{folder}")]

    result = run_tool(
        *("mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache"), *packages),
        cwd=str(tmp_path),
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_spelling_is_checked():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    texts = [name for name in files if name.endswith((".py", ".md", ".toml", ".css"))]

    result = run_tool("codespell_lib", "--toml", "pyproject.toml", *texts)

    assert result.returncode == 0, result.stdout


def test_pyproject_is_valid():
    result = run_tool("validate_pyproject", "pyproject.toml")

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_extra_installs_one_onnxruntime():
    extras = PROJECT["project"]["optional-dependencies"]
    runtime = re.compile(r"onnxruntime(-gpu)?\b(?!-)")

    assert [name for name, needs in extras.items() if any(map(runtime.match, needs))] == ["cpu", "gpu"]
