from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.evaluate.attacks.protocol import (
    BUDGET_SPENT,
    CLEAN_WRONG,
    FOOLED,
    Answer,
    AttackResult,
    Goal,
    linf_levels,
)
from robustmq_trt.evaluate.attacks.square import Corners, SquareLinf, SquareState, square_schedule, stripes
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks
from robustmq_trt.evaluate.score_access import SCORE_ACCESS, ScoreAccess
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.sources import open_dataset

SIDE, CLASSES = 8, 5


class Pixels:
    size = (SIDE, SIDE)

    def tensor(self, images: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


class Linear:
    """A linear layer; integer weights on integer pixels, so that a row's scores do not depend on the batch."""

    def __init__(self, *, step: float = 0) -> None:
        self.weights = np.random.default_rng(1).integers(-9, 10, size=(3 * SIDE * SIDE, CLASSES))
        self.step = step

    def infer(self, batch: np.ndarray) -> np.ndarray:
        pixels = np.rint(batch.reshape(len(batch), -1) * 255).astype(np.int64)
        scores = pixels @ self.weights / 255
        if self.step:
            scores = np.clip(np.rint(scores / self.step), -128, 127) * self.step
        return scores.astype(np.float32)

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self.infer(Pixels().tensor(images)).argmax(axis=1)


def attack_all(
    engine: Linear,
    images: np.ndarray,
    labels: np.ndarray,
    attack: SquareLinf,
    *,
    batch: int = 16,
    access: ScoreAccess = "logits",
) -> list[AttackResult]:
    oracle = Oracle(engine, Pixels(), batch=batch, budget=attack.budget, score_access=access)
    states = [
        attack.begin(image, Goal(int(label)), image_stream(0, attack.task, str(number)))
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    return run_attacks(states, oracle)


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, size=(40, SIDE, SIDE, 3), dtype=np.uint8)


def begun(image: np.ndarray, attack: SquareLinf) -> SquareState:
    return attack.begin(image, Goal(0), image_stream(0, attack.task, "image"))


def right(margin: float) -> Answer:
    return Answer(np.zeros(2, np.float32), margin, wrong=False)


@pytest.mark.parametrize("budget", [100, 1000, 3000, 10_000])
def test_the_schedule_is_the_papers_stretched_over_the_budget(budget: int) -> None:
    sides = square_schedule(budget, 32, 32, 0.8)

    for iteration in range(budget):
        stretched = iteration * 10_000 // budget
        halvings = sum(stretched > end for end in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
        assert sides[iteration] == max(1, round((0.8 / 2**halvings * 32 * 32) ** 0.5))


def test_a_square_is_never_larger_than_the_shorter_side() -> None:
    assert square_schedule(1000, 4, 64, 1.0)[0] == 4


def test_the_corners_are_the_ball_clipped_to_grey_levels() -> None:
    image = np.uint8([[[0, 100, 255], [3, 252, 8]]])

    corners = Corners(image, 8)

    np.testing.assert_array_equal(corners[0b000], [[[0, 92, 247], [0, 244, 0]]])
    np.testing.assert_array_equal(corners[0b101], [[[8, 92, 255], [11, 244, 16]]])
    np.testing.assert_array_equal(corners[0b111], [[[8, 108, 255], [11, 255, 16]]])


def test_the_stripes_are_vertical_and_of_every_colour() -> None:
    image = np.full((4, 512, 3), 100, np.uint8)

    signs = stripes(image - 8, image + 8, np.random.Generator(np.random.Philox(1))).astype(int) - 100

    assert set(np.unique(signs)) == {-8, 8}
    assert (signs == signs[:1]).all()
    assert len({tuple(column) for column in signs[0]}) == 8


def test_the_first_query_is_the_clean_image_and_the_second_the_stripes(images: np.ndarray) -> None:
    state = begun(images[0], SquareLinf(eps=4))
    canvas = np.zeros_like(images[0])

    state.propose(canvas)
    first = canvas.copy()
    state.tell(right(1.0))
    state.propose(canvas)

    np.testing.assert_array_equal(first, images[0])
    low, high = (Corners(images[0], 4)[colour] for colour in (0, 7))
    assert ((canvas == low) | (canvas == high)).all()


def test_a_given_start_is_clipped_to_the_ball_and_asked_second(images: np.ndarray) -> None:
    attack = SquareLinf(eps=4)
    state = attack.begin(images[0], Goal(0), image_stream(0, attack.task, ""), start=images[1])
    canvas = np.zeros_like(images[0])

    state.propose(canvas)
    state.tell(right(1.0))
    state.propose(canvas)

    np.testing.assert_array_equal(canvas, np.clip(images[1].astype(int), images[0].astype(int) - 4, images[0] + 4.0))


@settings(max_examples=40, deadline=None)
@given(
    image=arrays.arrays(np.uint8, (5, 6, 3), elements=st.sampled_from([0, 1, 7, 128, 254, 255])),
    eps=st.integers(1, 255),
    accept=st.sampled_from(["equal", "strict"]),
    margins=st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=70, max_size=70),
)
def test_every_proposal_is_in_the_ball_and_differs_from_the_best(image, eps, accept, margins) -> None:
    state = begun(image, SquareLinf(eps=eps, budget=70, accept=accept))
    canvas = np.zeros_like(image)
    asked = 0

    while not state.done:
        best = state.result(asked).adversarial
        state.propose(canvas)
        assert linf_levels(canvas, image) <= eps
        assert asked < 2 or (canvas != best).any()
        state.tell(right(margins[asked]))
        asked += 1

    result = state.result(asked)
    assert asked == 70
    assert (result.success, result.reason) == (False, BUDGET_SPENT)
    assert result.linf == linf_levels(result.adversarial, image) <= eps
    assert result.margin == min(margins[1:])


def test_a_worse_proposal_is_undone_and_a_better_one_kept(images: np.ndarray) -> None:
    state = begun(images[0], SquareLinf(eps=4))
    canvas = np.zeros_like(images[0])
    for margin in (5.0, 4.0):
        state.propose(canvas)
        state.tell(right(margin))
    start = canvas.copy()

    state.propose(canvas)
    state.tell(right(4.5))
    kept_after_worse = state.result(3).adversarial
    state.propose(canvas)
    better = canvas.copy()
    state.tell(right(3.0))

    np.testing.assert_array_equal(kept_after_worse, start)
    np.testing.assert_array_equal(state.result(4).adversarial, better)


@pytest.mark.parametrize(("accept", "moves"), [("equal", True), ("strict", False)])
def test_an_equal_margin_moves_only_where_asked_for_and_counts_as_a_tie(
    images: np.ndarray, accept: str, moves: bool
) -> None:
    state = begun(images[0], SquareLinf(eps=4, accept=accept))
    canvas = np.zeros_like(images[0])
    for _ in range(3):
        before = state.result(0).adversarial
        state.propose(canvas)
        state.tell(right(1.0))

    result = state.result(3)
    assert (result.adversarial != before).any() == moves
    assert result.ties == 1


def test_the_colours_of_squares_are_even() -> None:
    attack = SquareLinf(eps=1, budget=4000)
    image = np.full((1, 1, 3), 100, np.uint8)
    state = begun(image, attack)
    canvas = image.copy()
    counts = np.zeros(8, int)
    for _ in range(attack.budget):
        state.propose(canvas)
        counts[(canvas[0, 0] > 100) @ [4, 2, 1]] += 1
        state.tell(right(1.0))

    # Every proposal leaves the colour it is at for one of the other seven; the walk is uniform in the long run.
    assert np.abs(counts - 500).max() < 5 * 500**0.5


def test_only_a_wrong_argmax_is_success_on_an_engine_full_of_ties(images: np.ndarray) -> None:
    engine = Linear(step=1.0)
    labels = engine.predict(images)

    results = attack_all(engine, images, labels, SquareLinf(eps=6, budget=300))

    predictions = engine.predict(np.stack([result.adversarial for result in results]))
    successes = np.array([result.success for result in results])
    np.testing.assert_array_equal(predictions != labels, successes)
    assert successes.any()
    assert sum(result.ties for result in results) > 0


def test_a_margin_of_zero_is_gone_past_and_no_success(images: np.ndarray) -> None:
    state = begun(images[0], SquareLinf(eps=4))
    canvas = np.zeros_like(images[0])

    for margin in (1.0, 0.0, 0.0):
        state.propose(canvas)
        state.tell(right(margin))

    assert not state.done
    assert not state.result(3).success


def test_a_wrong_argmax_ends_the_attack_even_at_a_margin_of_zero(images: np.ndarray) -> None:
    state = begun(images[0], SquareLinf(eps=4))
    canvas = np.zeros_like(images[0])
    for answer in (right(1.0), Answer(np.zeros(2, np.float32), 0.0, wrong=True)):
        state.propose(canvas)
        state.tell(answer)

    result = state.result(2)
    assert (result.success, result.reason) == (True, FOOLED)
    np.testing.assert_array_equal(result.adversarial, canvas)


def test_an_image_that_is_wrong_already_costs_one_query_and_is_named(images: np.ndarray) -> None:
    engine = Linear()

    results = attack_all(engine, images, (engine.predict(images) + 1) % CLASSES, SquareLinf(eps=1))

    assert {(result.queries, result.success, result.reason, result.linf) for result in results} == {
        (1, True, CLEAN_WRONG, 0)
    }


def test_a_budget_of_one_is_the_clean_check_alone(images: np.ndarray) -> None:
    engine = Linear()

    results = attack_all(engine, images, engine.predict(images), SquareLinf(eps=8, budget=1))

    assert {(result.queries, result.reason, result.linf) for result in results} == {(1, BUDGET_SPENT, 0)}


@pytest.mark.parametrize("access", SCORE_ACCESS)
def test_results_are_the_same_bits_for_every_batch_size(images: np.ndarray, access: ScoreAccess) -> None:
    engine = Linear(step=0.5)
    labels = engine.predict(images)
    attack = SquareLinf(eps=3, budget=80)

    runs = [attack_all(engine, images, labels, attack, batch=batch, access=access) for batch in (1, 7, 64)]

    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(a.adversarial, b.adversarial)
            assert (a.queries, a.success, a.ties, a.margin) == (b.queries, b.success, b.ties, b.margin)
    assert all(result.queries <= 80 for result in runs[0])


def test_an_image_is_attacked_alike_whatever_its_place(images: np.ndarray) -> None:
    engine = Linear()
    labels = engine.predict(images)
    attack = SquareLinf(eps=3, budget=60)

    def states(order: np.ndarray) -> list[SquareState]:
        return [attack.begin(images[i], Goal(int(labels[i])), image_stream(0, attack.task, str(i))) for i in order]

    order = np.random.default_rng(3).permutation(len(images))
    straight = run_attacks(states(np.arange(len(images))), Oracle(engine, Pixels(), batch=7, budget=60))
    shuffled = run_attacks(states(order), Oracle(engine, Pixels(), batch=7, budget=60))

    for place, i in enumerate(order):
        np.testing.assert_array_equal(shuffled[place].adversarial, straight[i].adversarial)


@pytest.mark.parametrize(
    "setting", [{"eps": 0}, {"eps": 256}, {"budget": 0}, {"p_init": 0.0}, {"p_init": 1.5}, {"accept": "equals"}]
)
def test_settings_out_of_range_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(InputError):
        SquareLinf(**{"eps": 8, **setting})


@pytest.mark.parametrize("wrong", [np.zeros((SIDE, SIDE, 3)), np.zeros((SIDE, 2, 3), np.uint8)])
def test_a_start_that_does_not_fit_is_refused(images: np.ndarray, wrong: np.ndarray) -> None:
    with pytest.raises(InputError):
        SquareLinf(eps=8).begin(images[0], Goal(0), np.random.default_rng(0), start=wrong)


@pytest.mark.realdata
def test_a_cifar_resnet_falls_at_eight_levels_within_seventy_queries_on_average(realdata: Path) -> None:
    pipeline = find_preset("cifar10")
    dataset = open_dataset(realdata / "data" / "cifar10_2000").subset(60, 0)
    loaded = load_images(dataset, pipeline, threads=1)
    engine = OnnxRuntimeEngine.open(realdata / "models" / "resnet20_cifar10_float.onnx", threads=1)
    right = np.flatnonzero(engine.infer(pipeline.tensor(loaded.images)).argmax(axis=1) == loaded.labels)[:40]
    attack = SquareLinf(eps=8, budget=1000)

    results = run_attacks(
        (
            attack.begin(loaded.images[i], Goal(int(loaded.labels[i])), image_stream(0, attack.task, loaded.hashes[i]))
            for i in right
        ),
        Oracle(engine, pipeline, batch=32, budget=1000),
    )

    adversarials = np.stack([result.adversarial for result in results])
    assert (engine.infer(pipeline.tensor(adversarials)).argmax(axis=1) != loaded.labels[right]).all()
    assert np.mean([result.queries for result in results]) <= 70
    assert max(result.linf for result in results) <= 8
