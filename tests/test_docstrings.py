"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import robustmq_trt

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(robustmq_trt.__path__, "robustmq_trt.")
    if info.name.split(".")[1] not in ("tests", "benchmarks", "tools", "build")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)

    result = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)

    assert result.failed == 0
