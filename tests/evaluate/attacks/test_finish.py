"""What a query attack delivers, from margins written down by hand."""

import numpy as np
import pytest

from robustmq_trt.evaluate.attacks.finish import Finish
from robustmq_trt.evaluate.attacks.protocol import BUDGET_SPENT, CLEAN_WRONG, FOOLED, Answer

NOTHING = np.zeros(2, np.float32)


def finished(*margins: float, outside: tuple[int, ...] = (), budget: int | None = None) -> Finish:
    """Ask for images of grey 0 (the original), 1, 2, ... and hear these margins; a negative one is a wrong answer."""
    image = np.zeros((1, 1, 3), np.uint8)
    finish = Finish(image, budget or len(margins), inside=lambda asked: int(asked.max()) not in outside)
    for grey, margin in enumerate(margins):
        finish.asks(image + np.uint8(grey))
        finish.hears(Answer(NOTHING, margin, wrong=margin < 0))
    return finish


@pytest.mark.parametrize(
    ("margins", "grey"),
    [((1.0, 3.0, 2.0, 5.0), 2), ((1.0, 3.0, 4.0), 1), ((2.0, 1.0, 1.0), 1), ((1.0,), 0)],
    ids=["lowest", "never the original", "first of equals", "nothing else asked"],
)
def test_without_success_the_image_of_the_lowest_margin_is_delivered(margins, grey):
    found = finished(*margins).result(len(margins))

    assert found.adversarial.max() == grey
    assert (found.success, found.reason, found.linf) == (False, BUDGET_SPENT, grey)
    assert found.margin == margins[grey]


@pytest.mark.parametrize(("margins", "reason"), [((-1.0,), CLEAN_WRONG), ((1.0, 0.5, -0.1), FOOLED)])
def test_a_wrong_answer_ends_it_and_is_delivered(margins, reason):
    finish = finished(*margins, budget=9)

    found = finish.result(len(margins))

    assert finish.done
    assert (found.success, found.reason, found.adversarial.max()) == (True, reason, len(margins) - 1)


def test_an_image_outside_the_ball_is_neither_delivered_nor_a_success():
    finish = finished(1.0, 0.5, -3.0, outside=(2,), budget=9)

    assert not finish.done
    assert finish.result(3).adversarial.max() == 1


def test_queries_that_did_not_move_the_margin_are_counted():
    assert finished(2.0, 1.0, 1.0, 3.0, 1.0).result(5).ties == 2
