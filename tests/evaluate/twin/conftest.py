"""The torch reference, loaded by path: tests are no package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def torch_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("torch_reference", Path(__file__).with_name("torch_reference.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
