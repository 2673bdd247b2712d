"""A handful of the two hundred damaged files and replies of benchmarks/fuzz_engines.py; all of them run there."""

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from robustmq_trt.export.onnx_file import read_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_engines", ROOT / "benchmarks" / "fuzz_engines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_engines"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["onnx", "ir", "plan"])
def test_a_damaged_file_is_refused_or_another_network_and_kills_nothing(fuzz: ModuleType, kind: str, tmp_path: Path):
    goods = fuzz.good_files(kind, tmp_path)

    found = [fuzz.run(kind, number, goods, tmp_path, seed=1) for number in range(2)]

    assert {outcome.outcome for outcome in found} <= {"refused", "opened"}
    assert all(outcome.message for outcome in found)


def test_a_damaged_reply_is_refused_or_read(fuzz: ModuleType):
    found = list(fuzz.replies(4, seed=1))

    assert {outcome.outcome for outcome in found} <= {"refused", "opened"}


def test_damage_is_the_same_for_the_same_seed_and_is_damage(fuzz: ModuleType):
    content = bytes(range(256)) * 40
    ways = [[fuzz.damaged(content, np.random.default_rng([seed, 1])) for seed in range(40)] for _ in range(2)]

    assert ways[0] == ways[1]
    assert len({name for name, _ in ways[0]}) == 6
    assert all(spoilt != content for _, spoilt in ways[0])


def test_damaged_onnx_never_gets_past_the_reader_as_something_else(fuzz: ModuleType, tmp_path: Path):
    """The reader of this process, without a child: forty times a model, or an error made for users."""
    (content,) = fuzz.good_files("onnx", tmp_path).values()
    path = tmp_path / "model.onnx"
    read = 0

    for number in range(40):
        path.write_bytes(fuzz.damaged(content, np.random.default_rng([2, number]))[1])
        with suppress(fuzz.RobustMQError):
            read_model(path)
            read += 1

    assert 0 < read < 40
