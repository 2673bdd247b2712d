import numpy as np
import pytest

from robustmq_trt.core.errors import EngineError, InputError, TargetChangedError
from robustmq_trt.evaluate.attacks.protocol import Goal
from robustmq_trt.evaluate.oracle import BudgetError, Oracle


class Channels:
    size = (2, 2)

    def tensor(self, images: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)


class TopLeft:
    """Scores are the three channels of the top left pixel; remembers how many rows each call had."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def infer(self, batch: np.ndarray) -> np.ndarray:
        self.rows.append(len(batch))
        self.last = batch
        return batch[:, :, 0, 0].copy()


class Broken:
    def __init__(self, scores: np.ndarray | None = None) -> None:
        self.scores = scores

    def infer(self, batch: np.ndarray) -> np.ndarray:
        if self.scores is None:
            raise RuntimeError("device lost")
        return self.scores


def oracle(engine: object = None, **settings: object) -> Oracle:
    return Oracle(engine or TopLeft(), Channels(), **{"batch": 4, "budget": 3, **settings})


def images(*pixels: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.broadcast_to(np.uint8(pixel), (2, 2, 3)) for pixel in pixels])


def test_the_margin_is_the_labels_score_minus_the_best_other() -> None:
    subject = oracle()

    (answer,) = subject.ask(images((9, 4, 7)), [subject.admit(Goal(1))])

    assert answer is not None
    assert answer.margin == 4 - 9
    assert answer.wrong
    np.testing.assert_array_equal(answer.scores, [9, 4, 7])


def test_a_margin_may_lie_between_scores_that_are_all_negative() -> None:
    subject = oracle(Broken(np.float32([[-3, -1, -2]])))

    (answer,) = subject.ask(images((0, 0, 0)), [subject.admit(Goal(1))])

    assert answer is not None
    assert (answer.margin, answer.wrong) == (1, False)


@pytest.mark.parametrize(
    ("pixel", "margin", "won"), [((9, 4, 7), 2, False), ((7, 0, 9), -2, True), ((7, 0, 7), 0, False)]
)
def test_with_a_target_the_margin_is_what_it_lacks_and_its_argmax_alone_is_success(
    pixel: tuple[int, int, int], margin: int, won: bool
) -> None:
    subject = oracle()

    (answer,) = subject.ask(images(pixel), [subject.admit(Goal(0, 2))])

    assert answer is not None
    assert (answer.margin, answer.wrong) == (margin, won)


@pytest.mark.parametrize("goal", [Goal(-1), Goal(0, -1), Goal(2, 2)])
def test_a_goal_that_makes_no_sense_is_refused(goal: Goal) -> None:
    with pytest.raises(InputError):
        oracle().admit(goal)


def test_a_tie_is_wrong_only_where_the_production_argmax_takes_the_other_class() -> None:
    subject = oracle()
    tickets = [subject.admit(Goal(0)), subject.admit(Goal(1))]

    lower, higher = subject.ask(images((5, 5, 0), (5, 5, 0)), tickets)

    assert (lower.margin, lower.wrong) == (0, False)
    assert (higher.margin, higher.wrong) == (0, True)


def test_the_verdict_comes_from_the_raw_output_where_the_attacker_sees_a_tie() -> None:
    subject = oracle(Broken(np.float32([[0.0005, 0.0006, 0.0001]])), score_access="uint8-scores")

    (answer,) = subject.ask(images((0, 0, 0)), [subject.admit(Goal(1))])

    assert answer is not None
    assert (answer.margin, answer.wrong) == (0, False)  # by what is seen, class 0 would win the tie


def test_label_access_shows_every_right_answer_as_one_plateau() -> None:
    subject = oracle(score_access="label")
    tickets = [subject.admit(Goal(0)), subject.admit(Goal(0)), subject.admit(Goal(0))]

    answers = subject.ask(images((9, 0, 0), (9, 8, 0), (7, 8, 0)), tickets)

    assert [answer.margin for answer in answers] == [1, 1, -1]


def test_each_image_has_its_own_count() -> None:
    subject = oracle()
    first, second = subject.admit(Goal(0)), subject.admit(Goal(0))

    subject.ask(images((1, 0, 0), (1, 0, 0)), [first, second])
    subject.ask(images((1, 0, 0)), [second])

    assert (subject.queries(first), subject.queries(second)) == (1, 2)
    assert subject.cost.queries == 3


def test_a_query_past_the_budget_is_refused_before_the_engine_sees_it() -> None:
    engine = TopLeft()
    subject = oracle(engine, budget=1)
    spent, fresh = subject.admit(Goal(0)), subject.admit(Goal(0))
    subject.ask(images((1, 0, 0)), [spent])

    with pytest.raises(BudgetError, match="1 queries"):
        subject.ask(images((1, 0, 0), (1, 0, 0)), [fresh, spent])

    assert subject.spent(spent)
    assert subject.queries(fresh) == 0
    assert engine.rows == [1]


def test_one_image_cannot_hide_two_queries_in_one_batch() -> None:
    subject = oracle()
    ticket = subject.admit(Goal(0))

    with pytest.raises(InputError, match="twice"):
        subject.ask(images((1, 0, 0), (1, 0, 0)), [ticket, ticket])


def test_padding_fills_the_batch_without_counting_as_queries() -> None:
    engine = TopLeft()
    subject = oracle(engine, pad=True)

    answers = subject.ask(images((1, 0, 0), (0, 2, 0)), [subject.admit(Goal(0)), subject.admit(Goal(0))])

    assert engine.rows == [4]
    np.testing.assert_array_equal(engine.last[2:], np.repeat(engine.last[:1], 2, axis=0))
    assert [answer.wrong for answer in answers] == [False, True]
    assert (subject.cost.queries, subject.cost.evaluations, subject.cost.calls) == (2, 4, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_give_no_answer_for_their_image_only(bad: float) -> None:
    subject = oracle(Broken(np.float32([[3, 1, bad], [1, 2, 0]])))

    lost, kept = subject.ask(images((0, 0, 0), (0, 0, 0)), [subject.admit(Goal(0)), subject.admit(Goal(0))])

    assert lost is None
    assert kept.wrong


def test_what_an_engine_raises_becomes_one_sentence() -> None:
    subject = oracle(Broken())

    with pytest.raises(EngineError, match="RuntimeError: device lost"):
        subject.ask(images((0, 0, 0)), [subject.admit(Goal(0))])

    assert subject.queries(0) == 1


def test_an_engine_that_was_replaced_ends_more_than_its_image() -> None:
    class Replaced:
        def infer(self, batch: np.ndarray) -> np.ndarray:
            raise TargetChangedError("The server runs another model now.")

    subject = oracle(Replaced())

    with pytest.raises(TargetChangedError, match="another model"):
        subject.ask(images((0, 0, 0)), [subject.admit(Goal(0))])


@pytest.mark.parametrize("shape", [(2, 3), (1,), (0, 3)])
def test_scores_of_another_shape_than_owed_are_an_engine_failure(shape: tuple[int, ...]) -> None:
    subject = oracle(Broken(np.zeros(shape, np.float32)))

    with pytest.raises(EngineError, match="shape"):
        subject.ask(images((0, 0, 0)), [subject.admit(Goal(0))])


def test_a_label_outside_the_engines_classes_is_refused() -> None:
    subject = oracle()

    with pytest.raises(InputError, match="outside the engine's 3 classes"):
        subject.ask(images((0, 0, 0)), [subject.admit(Goal(3))])


@pytest.mark.parametrize(
    "wrong", [images((0, 0, 0)).astype(np.float32), np.zeros((1, 3, 2, 3), np.uint8), images(*[(0, 0, 0)] * 2)]
)
def test_images_that_do_not_fit_are_refused(wrong: np.ndarray) -> None:
    subject = oracle()

    with pytest.raises(InputError, match="uint8 images"):
        subject.ask(wrong, [subject.admit(Goal(0))])


@pytest.mark.parametrize("setting", [{"batch": 0}, {"budget": 0}, {"output_kind": "probabilities"}])
def test_settings_that_cannot_be_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(InputError):
        oracle(**setting)


def test_engine_and_preprocessing_are_part_of_the_wall_time_of_the_attack() -> None:
    subject = oracle()

    with subject.stopwatch():
        subject.ask(images((0, 0, 0)), [subject.admit(Goal(0))])

    cost = subject.cost
    assert min(cost.engine_ns, cost.preprocessing_ns) > 0
    assert cost.engine_ns + cost.preprocessing_ns < cost.wall_ns
