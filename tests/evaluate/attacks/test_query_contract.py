"""What every query attack of the catalogue owes, on engines that tie, that never change and that round."""

from collections.abc import Callable

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.protocol import BUDGET_SPENT, FOOLED, Answer, AttackResult, Goal, QueryAttack
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks
from robustmq_trt.evaluate.score_access import ScoreAccess

SIDE, CLASSES, COUNT = 8, 5, 6
WIDE = {"linf": 40, "l2": 900}
Engine = Callable[[np.ndarray], np.ndarray]


class Pixels:
    size = (SIDE, SIDE)

    def tensor(self, images: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(images)


class Scores:
    def __init__(self, rule: Engine) -> None:
        self.infer = rule


WEIGHTS = np.random.default_rng(1).integers(-9, 10, size=(3 * SIDE * SIDE, CLASSES))


def smooth(images: np.ndarray) -> np.ndarray:
    """A linear layer in exact integers, so that a row does not depend on its batch."""
    return (images.reshape(len(images), -1).astype(np.int64) @ WEIGHTS / 255).astype(np.float32)


def stepped(images: np.ndarray) -> np.ndarray:
    """The same with 256 levels, as an INT8 engine's output, so coarse that the first two often tie."""
    return (np.clip(np.rint(smooth(images) / 4), -128, 127) * 4).astype(np.float32)


def tied(images: np.ndarray) -> np.ndarray:
    """The label's score never leaves a tie with class 1, whatever the image; the production argmax is always 0."""
    scores = stepped(images)
    scores[:, :2] = scores.max(axis=1, keepdims=True)
    return scores


def constant(images: np.ndarray) -> np.ndarray:
    """One plateau."""
    return np.zeros((len(images), CLASSES), np.float32)


@pytest.fixture(params=QUERY_ATTACKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, size=(COUNT, SIDE, SIDE, 3), dtype=np.uint8)


def make(name: str, budget: int, *, eps: int | None = None) -> QueryAttack:
    entry = QUERY_ATTACKS[name]
    return entry.make({**entry.defaults, "eps": eps or WIDE[entry.norm], "queries": budget})


def attack_all(
    attack: QueryAttack,
    rule: Engine,
    images: np.ndarray,
    *,
    batch: int = 32,
    access: ScoreAccess = "logits",
    starts: np.ndarray | None = None,
    targets: np.ndarray | None = None,
) -> list[AttackResult]:
    labels = rule(images).argmax(axis=1)
    oracle = Oracle(Scores(rule), Pixels(), batch=batch, budget=attack.budget, score_access=access)
    states = [
        attack.begin(
            image,
            Goal(int(label), None if targets is None else int(targets[number])),
            image_stream(0, attack.task, str(number)),
            None if starts is None else starts[number],
        )
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    return run_attacks(states, oracle)


def distance(name: str, a: np.ndarray, b: np.ndarray) -> float:
    moved = a.astype(np.int64) - b
    return float(np.abs(moved).max() if QUERY_ATTACKS[name].norm == "linf" else np.sqrt((moved**2).sum()))


@pytest.mark.parametrize("budget", [1, 2, 3, 11, 70])
def test_the_budget_is_never_exceeded_and_used_up_in_vain_on_a_plateau(
    name: str, images: np.ndarray, budget: int
) -> None:
    for result in attack_all(make(name, budget), constant, images[:3]):
        assert result.queries <= budget
        assert not result.success
        assert result.reason == BUDGET_SPENT


@pytest.mark.parametrize("rule", [smooth, stepped, tied, constant])
def test_no_success_is_claimed_that_the_engine_denies(name: str, images: np.ndarray, rule: Engine) -> None:
    results = attack_all(make(name, 60), rule, images)

    fooled = rule(np.stack([result.adversarial for result in results])).argmax(axis=1) != rule(images).argmax(axis=1)
    np.testing.assert_array_equal([result.success for result in results], fooled)
    assert all((result.reason == FOOLED) == result.success for result in results)


@pytest.mark.parametrize("eps", [1, 3, 40])
def test_what_is_delivered_lies_in_the_ball(name: str, images: np.ndarray, eps: int) -> None:
    for result, image in zip(attack_all(make(name, 60, eps=eps), stepped, images), images, strict=True):
        assert distance(name, result.adversarial, image) <= eps


def test_what_is_delivered_was_asked_byte_for_byte(name: str, images: np.ndarray) -> None:
    """A search that changed an image after it asked for it would deliver what no engine has seen."""
    asked: set[bytes] = set()

    def heard(queries: np.ndarray) -> np.ndarray:
        asked.update(query.tobytes() for query in queries)
        return stepped(queries)

    results = attack_all(make(name, 40, eps=9), heard, images)

    assert all(result.adversarial.tobytes() in asked for result in results)


@pytest.mark.parametrize("rule", [smooth, stepped])
def test_a_wide_ball_is_enough_for_most_images(name: str, images: np.ndarray, rule: Engine) -> None:
    results = attack_all(make(name, 300), rule, images)

    assert np.mean([result.success for result in results]) >= 0.75


@pytest.mark.parametrize("access", ["logits", "probabilities", "uint8-scores", "label"])
def test_results_are_the_same_bits_for_every_batch(name: str, images: np.ndarray, access: ScoreAccess) -> None:
    runs = [attack_all(make(name, 30, eps=9), stepped, images, batch=batch, access=access) for batch in (1, 5)]

    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a.adversarial, b.adversarial)
        assert (a.queries, a.success, a.ties) == (b.queries, b.success, b.ties)


@pytest.mark.parametrize("name", [name for name, entry in QUERY_ATTACKS.items() if entry.needs == "labels"])
def test_an_attack_that_needs_labels_alone_works_with_labels_alone(name: str, images: np.ndarray) -> None:
    seen, blind = (attack_all(make(name, 60), stepped, images, access=access) for access in ("logits", "label"))

    assert [(a.queries, a.success) for a in seen] == [(b.queries, b.success) for b in blind]


def test_a_start_that_fools_the_engine_is_success_at_the_second_query(name: str, images: np.ndarray) -> None:
    radius = WIDE[QUERY_ATTACKS[name].norm]
    level = radius if QUERY_ATTACKS[name].norm == "linf" else radius // 14  # 192 values moved by it stay inside
    labels = smooth(images).argmax(axis=1)
    signs = np.sign(WEIGHTS[:, (labels + 1) % CLASSES] - WEIGHTS[:, labels]).T.reshape(images.shape)
    starts = np.clip(images + level * signs, 0, 255).astype(np.uint8)
    fools = smooth(starts).argmax(axis=1) != labels
    assert fools.any()

    results = attack_all(make(name, 50), smooth, images[fools], starts=starts[fools])

    assert {(result.queries, result.success) for result in results} == {(2, True)}


@pytest.mark.parametrize("name", [name for name, entry in QUERY_ATTACKS.items() if "goal" in entry.words])
@pytest.mark.parametrize(("rule", "share"), [(smooth, 0.5), (stepped, 0), (tied, 0), (constant, 0)])
def test_a_targeted_attack_succeeds_by_the_target_alone(
    name: str, images: np.ndarray, rule: Engine, share: float
) -> None:
    targets = (rule(images).argmax(axis=1) + 2) % CLASSES

    results = attack_all(make(name, 600), rule, images, targets=targets)

    answers = rule(np.stack([result.adversarial for result in results])).argmax(axis=1)
    np.testing.assert_array_equal([result.success for result in results], answers == targets)
    assert np.mean(answers == targets) >= share
    assert all(result.queries <= 600 for result in results)


def test_an_image_the_engine_gets_wrong_already_costs_one_query(name: str, images: np.ndarray) -> None:
    state = make(name, 10).begin(images[0], Goal(0), np.random.default_rng(0))
    canvas = np.zeros_like(images[0])

    state.propose(canvas)
    state.tell(Answer(np.float32([0, 1]), -1.0, wrong=True))

    np.testing.assert_array_equal(canvas, images[0])
    assert state.done
    assert state.result(1).linf == 0


@pytest.mark.parametrize("setting", [{"eps": 0}, {"queries": 0}])
def test_settings_out_of_range_are_refused(name: str, setting: dict[str, int]) -> None:
    entry = QUERY_ATTACKS[name]
    with pytest.raises(InputError):
        entry.make({**entry.defaults, **setting})


def test_a_start_of_another_shape_is_refused(name: str, images: np.ndarray) -> None:
    with pytest.raises(InputError):
        make(name, 10).begin(images[0], Goal(0), np.random.default_rng(0), np.zeros((SIDE, 2, 3), np.uint8))
