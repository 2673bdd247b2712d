"""What a backend says of itself: its release where it works, else why it does not."""

import sys
from types import ModuleType

from robustmq_trt.engines.backend import Backend, status


def test_doctor_says_why_a_missing_module_does_not_work():
    absent = Backend(
        name="absent", suffixes=(".absent",), module="no_such_module_here", install="pip install it", open=_never
    )

    found = status(absent)

    assert not found.works
    assert "no_such_module_here" in found.reason


def _never(path: str, threads: int | None, simulate: bool):
    raise AssertionError("must not be opened")


def test_the_version_is_the_release_without_the_build(monkeypatch):
    module = ModuleType("built_module")
    module.__version__ = "2026.4.1-22982-e213a147257-releases/2026/4"
    monkeypatch.setitem(sys.modules, "built_module", module)
    here = Backend(name="here", suffixes=(".here",), module="built_module", install="pip install it", open=_never)

    assert status(here).version == "2026.4.1"
