import numpy as np
import pytest

from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.protocol import Answer, Goal
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
from robustmq_trt.evaluate.attacks.reach import l2_squared, on_grid
from robustmq_trt.evaluate.attacks.square_l2 import bump_pair


@pytest.mark.parametrize("side", [3, 4, 7, 12, 51])
def test_a_pair_of_bumps_has_length_one_and_two_signs(side: int) -> None:
    pair = bump_pair(side)

    assert (pair**2).sum() == pytest.approx(1, abs=1e-5)
    assert (pair[: side // 2] > 0).all()
    assert (pair[side // 2 :] < 0).all()


def test_a_bump_is_the_papers_stack_of_rectangles() -> None:
    """Reference: eq. 2 by hand for the 3 x 7 half: heights 1, 1/4, 1/9, 1/16 stacked around the middle."""
    half = bump_pair(6)[:3]

    row = np.array([0, 1, 2, 3, 2, 1][:6])
    stack = np.array([1 / 16, 1 / 16 + 1 / 9, 1 / 16 + 1 / 9 + 1 / 4, 1 / 16 + 1 / 9 + 1 / 4 + 1])
    np.testing.assert_allclose(half[1] / half[1, 3], stack[row] / stack[3], rtol=1e-5)


@pytest.mark.parametrize("eps", [1, 9, 127])
def test_rounding_never_leaves_the_ball(rng: np.random.Generator, eps: int) -> None:
    image = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for _ in range(20):
        step = rng.normal(size=image.shape).astype(np.float32)
        step *= eps / np.sqrt((step**2).sum())

        assert l2_squared(on_grid(image, step, eps), image) <= eps * eps


def test_the_search_uses_its_whole_length(rng: np.random.Generator) -> None:
    image = np.full((16, 16, 3), 128, np.uint8)
    attack = QUERY_ATTACKS["square_l2"].make({"eps": 200, "queries": 40})
    state = attack.begin(image, Goal(0), image_stream(0, attack.task, ""))
    canvas = image.copy()

    for _ in range(attack.budget):
        state.propose(canvas)
        state.tell(Answer(np.zeros(2, np.float32), float(rng.random()), wrong=False))

    assert 0.9 * 200**2 <= l2_squared(state.result(40).adversarial, image) <= 200**2


def test_a_step_ends_at_the_nearest_levels():
    image = np.full((1, 1, 3), 100, np.uint8)

    assert on_grid(image, np.float32([[[0.6, -0.6, 1.4]]]), 8).tolist() == [[[101, 99, 101]]]
