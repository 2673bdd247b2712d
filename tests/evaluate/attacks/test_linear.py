import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.core.store import Store
from robustmq_trt.evaluate.attacks.catalog import is_transfer, needs_surrogate, parse_attack, start_of
from robustmq_trt.evaluate.attacks.linear import MOST_UNKNOWNS, tile_side
from robustmq_trt.evaluate.attacks.margins import MarginReader, grid_step
from robustmq_trt.evaluate.attacks.protocol import Answer, Goal
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
from robustmq_trt.evaluate.summary import load_study, save_plan


def answer(*scores: float) -> Answer:
    row = np.float32(scores)
    return Answer(row, float(row[0] - row[1:].max()), wrong=bool(row.argmax()))


@pytest.mark.parametrize("step", [0.176, 1.0, 2.0**-8])
def test_the_step_of_an_integer_output_is_found_from_eight_answers(step: float) -> None:
    levels = np.random.default_rng(0).integers(-60, 60, size=(8, 10))
    reader = MarginReader(Goal(0))

    for row in levels:
        reader.read(Answer(np.float32(row * np.float32(step)), 0.0, wrong=False))

    assert reader.step == pytest.approx(step, rel=1e-5)
    assert reader.rounding_variance == pytest.approx(step**2 / 6, rel=1e-4)


def test_a_float_output_has_no_step() -> None:
    for seed in range(50):
        assert grid_step(np.float32(np.random.default_rng(seed).normal(size=(2, 10)))) == 0


def test_shares_are_read_as_logits_up_to_a_floor() -> None:
    reader = MarginReader(Goal(0))
    logits = np.array([2.0, 1.0, -3.0])
    shares = np.exp(logits) / np.exp(logits).sum()

    margin = reader.read(answer(*shares))

    assert margin == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("highest", "step"), [(255, 255 / 256), (1, 1 / 256)], ids=["uint8", "probabilities"])
def test_a_share_of_nothing_is_read_as_half_a_step_of_eight_bits(highest: float, step: float) -> None:
    margin = MarginReader(Goal(0)).read(answer(highest, 0, 0))

    assert margin == pytest.approx(math.log(highest + step / 2) - math.log(step / 2))


def test_tiles_keep_the_unknowns_few() -> None:
    for height, width in [(8, 8), (32, 32), (37, 37), (128, 128), (224, 224), (224, 300)]:
        side = tile_side(height, width)
        assert -(-height // side) * -(-width // side) <= MOST_UNKNOWNS


def test_the_fit_finds_the_signs_of_a_linear_margin_through_coarse_rounding() -> None:
    """Reference: the weights themselves. Each sign is 0.3 of a step, so no two answers tell it from zero."""
    side, budget = 6, 1200
    weights = np.random.default_rng(2).choice([-0.3, 0.3], size=(side, side, 3))
    image = np.full((side, side, 3), 100, np.uint8)
    attack = QUERY_ATTACKS["linear"].make({"eps": 2, "queries": budget})
    state = attack.begin(image, Goal(0), image_stream(0, attack.task, ""))
    canvas = image.copy()
    for _ in range(budget):
        state.propose(canvas)
        margin = np.rint(100 + (weights * (canvas.astype(int) - image) / 2).sum())
        state.tell(Answer(np.float32([margin, 0.0]), float(margin), wrong=False))

    found = np.sign(state.result(budget).adversarial.astype(int) - image)
    assert (found == -np.sign(weights)).mean() > 0.95


def test_the_search_goes_on_from_the_pattern_of_its_start_within_every_tile() -> None:
    side = tile_side(70, 70)
    image = np.full((70, 70, 3), 100, np.uint8)
    ways = np.random.default_rng(1).choice([-2, 2], size=(70, 70, 1))
    attack = QUERY_ATTACKS["linear"].make({"eps": 2, "queries": 9})
    state = attack.begin(image, Goal(0), image_stream(0, attack.task, ""), (image + ways).astype(np.uint8))
    canvas = image.copy()
    for margin in (3.0, 1.0):
        state.propose(canvas)
        state.tell(Answer(np.float32([margin, 0.0]), margin, wrong=False))

    state.propose(canvas)

    kept = (canvas.astype(int) - image) * ways // 4
    tiles = kept.reshape(70 // side, side, 70 // side, side, 3)
    assert side == 2
    assert (abs(tiles) == 1).all()
    assert (tiles == tiles[:, :1, :, :1, :1]).all()
    assert 0.7 < (tiles > 0).mean() < 0.8


def test_a_start_is_part_of_the_label_and_names_a_transfer_attack_of_the_same_eps() -> None:
    condition = parse_attack("linear:eps=2,queries=500,start=mifgsm")

    start = start_of(condition)

    assert condition.label == "linear:eps=2,queries=500,start=mifgsm"
    assert start is not None
    assert (start.name, start["eps"]) == ("mifgsm", 2)
    assert needs_surrogate(condition)
    assert not is_transfer(condition)
    assert parse_attack("linear:eps=2,start=none").words == ()


def test_a_start_survives_the_results_file(tmp_path: Path) -> None:
    condition = parse_attack("square:start=mifgsm")
    run = SimpleNamespace(
        targets=[SimpleNamespace(name="a", engine=SimpleNamespace(spec=SimpleNamespace(classes=2)))],
        conditions=[condition],
        plan=SimpleNamespace(seed=0),
        dataset=[],
        keys=list,
    )
    with Store(tmp_path / "results.sqlite") as store:
        save_plan(store, run)

        assert list(load_study(store).conditions) == [condition]


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(InputError, match="mifgsm"):
        parse_attack("square:start=mifgms")
