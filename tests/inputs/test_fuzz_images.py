"""A hundred of the two thousand damaged files of benchmarks/fuzz_images.py; all of them run there."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.decode import DECODERS
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.sources import open_dataset

ROOT = Path(__file__).resolve().parents[2]
CASES = 100


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")  # where child processes look for the modules, too
        yield importlib.import_module("fuzz_images")


@pytest.fixture(scope="module")
def damaged(fuzz: ModuleType) -> ModuleType:
    return importlib.import_module("damaged_images")


def test_every_decoder_and_preset_gives_a_picture_or_a_reason(fuzz: ModuleType, damaged: ModuleType) -> None:
    names = list(fuzz.ways())

    found = [outcome for case in damaged.cases(CASES, seed=1) for outcome in fuzz.tried(case, names)]

    assert {f"decoder {name}" for name in DECODERS} | {f"preset {name}" for name in PRESETS} <= set(names)
    assert len(found) == CASES * len(names)
    assert [outcome for outcome in found if outcome.outcome not in ("image", "refused")] == []
    assert all(outcome.message.endswith(".") for outcome in found if outcome.outcome == "refused")
    assert min(Counter(outcome.outcome for outcome in found).values()) > CASES


def test_nothing_is_lost_between_files_and_rows(damaged: ModuleType, tmp_path: Path) -> None:
    for case in damaged.cases(CASES, seed=2):
        (tmp_path / f"{case.number:03d}.jpg").write_bytes(case.content)
    dataset = open_dataset(tmp_path, unlabelled=True)

    loaded = load_images(dataset, PRESETS["torchvision"].for_size(32, 32), threads=2)

    assert len(dataset) == CASES
    assert len(loaded.names) + len(loaded.failures) == CASES
    assert {*loaded.names, *(failure.sample.name for failure in loaded.failures)} == {
        sample.name for sample in dataset.samples
    }
    assert loaded.images.shape == (len(loaded.names), 32, 32, 3)
    assert all(failure.reason for failure in loaded.failures)


def test_damage_is_the_same_for_the_same_seed_and_is_damage(damaged: ModuleType) -> None:
    goods = damaged.good_files()

    first, second = list(damaged.cases(60, seed=3)), list(damaged.cases(60, seed=3))

    assert first == second
    assert sum(case.content != goods[case.name] for case in first) > 50
    assert len({way for case in first for way in case.damage}) == 8


def test_good_files_are_good(fuzz: ModuleType, damaged: ModuleType) -> None:
    for name, content in damaged.good_files().items():
        case = damaged.Case(number=0, name=name, damage=(), content=content)

        found = list(fuzz.tried(case, [f"decoder {decoder}" for decoder in DECODERS]))

        assert {outcome.outcome for outcome in found} == {"image"}


def test_a_hang_and_a_crash_are_outcomes_and_the_rest_goes_on(fuzz: ModuleType) -> None:
    fuzz.check_the_watch(time_limit=3.0)
