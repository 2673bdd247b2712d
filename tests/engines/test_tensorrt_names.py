"""Every name of TensorRT that the backend uses exists in the real modules; collected by tools/tensorrt_api.py."""

import ast
import json
from importlib import import_module
from pathlib import Path

import pytest

from robustmq_trt.engines.tensorrt_build import _network_flags
from robustmq_trt.engines.tensorrt_module import Complaints, monitor

FOLDER = Path(__file__).resolve().parents[2] / "engines"
SOURCES = sorted(FOLDER.glob("tensorrt*.py"))
NAMES = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text())
VERSIONS = sorted(NAMES)
# What a variable of the backend holds, by its name.
HOLDS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "error": "ParserError",
    "image": "ITensor",
    "inspector": "EngineInspector",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "timing_cache": "ITimingCache",
}


def _uses() -> set[tuple[str, str]]:
    """Pairs of class and name: `trt.Class.NAME`, and `variable.name` for variables that hold TensorRT's objects."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            base = node.value
            if not node.attr.startswith("__") and isinstance(base, ast.Attribute) and _is_module(base.value):
                found.add((base.attr, node.attr))
            holder = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
            if holder in HOLDS and not node.attr.startswith("__"):
                found.add((HOLDS[holder], node.attr))
    return found


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "trt"


def _classes() -> set[str]:
    """Names `trt.Class`."""
    nodes = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))]
    return {n.attr for n in nodes if isinstance(n, ast.Attribute) and _is_module(n.value)} - {"__version__"}


def _optional() -> set[tuple[str, str]]:
    """Pairs of class and name asked by `member(trt.Class, "NAME")`, which some versions lack."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "member":
                owner, name = node.args
                if isinstance(owner, ast.Attribute) and isinstance(name, ast.Constant):
                    found.add((owner.attr, str(name.value)))
    return found


# `_words(error)` is given a ParserError; elsewhere `error` is an exception, of which nothing is read.
USES = sorted(_uses())
ONLY_WHERE_OFFERED = {("IBuilderConfig", "progress_monitor")}


def test_enough_names_were_found_to_be_a_check():
    assert len(USES) > 40
    assert len({owner for owner, _ in USES}) >= 15


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_the_backend_uses_exists(version: str):
    names = NAMES[version]
    known = {(owner, name) for owner in names for name in names[owner]}

    missing = [use for use in USES if use not in known and use not in ONLY_WHERE_OFFERED]

    assert missing == []
    assert _classes() <= set(names)


def test_the_names_that_may_be_missing_exist_in_some_version():
    known = {(owner, name) for names in NAMES.values() for owner in names for name in names[owner]}

    assert _optional() | ONLY_WHERE_OFFERED <= known
    assert ("BuilderFlag", "INT8") in _optional()


def test_what_eleven_dropped_is_never_used_outright():
    old, new = NAMES["10.16.1.11"], NAMES["11.4.0.106"]
    dropped = {(owner, name) for owner in old for name in set(old[owner]) - set(new.get(owner, ()))}

    assert ("BuilderFlag", "FP16") in dropped
    assert dropped & set(USES) == set()


def test_the_installed_bindings_offer_what_was_collected():
    bindings = pytest.importorskip("tensorrt_bindings", reason="needs TensorRT's bindings and libraries")
    if bindings.__version__ not in NAMES:
        pytest.skip(f"no names of {bindings.__version__} were collected; run tools/tensorrt_api.py")

    for owner, names in NAMES[bindings.__version__].items():
        assert set(names) == {name for name in dir(getattr(bindings, owner)) if not name.startswith("_")}


def test_the_installed_bindings_take_our_logger_monitor_and_flags():
    trt = pytest.importorskip("tensorrt_bindings", reason="needs TensorRT's bindings and libraries")
    told: list[tuple[str, int, int]] = []
    complaints, watching = Complaints(trt), monitor(trt, lambda *steps: told.append(steps))

    complaints.logger.log(trt.ILogger.ERROR, "No\n memory.")
    complaints.logger.log(trt.ILogger.INFO, "nothing of interest")

    assert complaints.sentence() == "No memory"
    assert isinstance(complaints.logger, trt.ILogger)
    assert _network_flags(trt, "strong") >= 1
    if watching is not None:
        watching.phase_start("Building", None, 3)
        assert watching.step_complete("Building", 0) is True
        assert told == [("Building", 1, 3)]


@pytest.mark.parametrize(
    ("file", "module"), [("device_cuda", "cuda.bindings.driver"), ("device_pycuda", "pycuda.driver")]
)
def test_every_name_of_the_driver_package_exists(file: str, module: str):
    pytest.importorskip(module.partition(".")[0], reason=f"needs {module}")
    driver = import_module(module)
    tree = ast.parse((FOLDER / f"{file}.py").read_text())
    names = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Name) and node.value.id == "driver")
            or (isinstance(node.value, ast.Attribute) and node.value.attr == "_driver")
        )
    }

    assert len(names) >= 5
    assert [name for name in sorted(names) if not hasattr(driver, name)] == []
