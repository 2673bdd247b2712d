"""Every name of TensorRT that the backend uses is in the listing of the real modules' names; needs no package index."""

import ast
import json
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "engines"
NAMES = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text())
KNOWN = {version: {(owner, name) for owner in names for name in names[owner]} for version, names in NAMES.items()}


def test_enough_names_were_found_to_be_a_check(tensorrt_uses):
    assert len(tensorrt_uses.names()) > 40
    assert len({owner for owner, _ in tensorrt_uses.names()}) >= 15


@pytest.mark.parametrize("version", NAMES)
def test_every_name_the_backend_uses_exists(tensorrt_uses, version: str):
    assert tensorrt_uses.names() - KNOWN[version] <= tensorrt_uses.ONLY_WHERE_OFFERED
    assert tensorrt_uses.classes() <= set(NAMES[version])


def test_the_names_that_may_be_missing_exist_in_some_version(tensorrt_uses):
    assert tensorrt_uses.optional() | tensorrt_uses.ONLY_WHERE_OFFERED <= set().union(*KNOWN.values())
    assert ("BuilderFlag", "INT8") in tensorrt_uses.optional()


def test_what_eleven_dropped_is_never_used_outright(tensorrt_uses):
    dropped = KNOWN["10.16.1.11"] - KNOWN["11.4.0.106"]

    assert ("BuilderFlag", "FP16") in dropped
    assert dropped & tensorrt_uses.names() == set()


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
