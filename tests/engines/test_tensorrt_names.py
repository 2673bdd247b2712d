"""Every name of TensorRT that the backend uses is in the listing of the real modules' names; needs no package index."""

import json
from pathlib import Path

import pytest

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


def test_every_name_of_pycuda_exists(tensorrt_uses):
    driver = pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)
    names = tensorrt_uses.driver_names("device_pycuda.py")

    assert len(names) >= 5
    assert [name for name in names if not hasattr(driver, name)] == []
