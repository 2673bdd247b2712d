import numpy as np
import pytest

from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.protocol import Answer, AttackState, Goal, linf_levels
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
from robustmq_trt.evaluate.attacks.rays import Ray, blocks, first_signs, turned
from robustmq_trt.evaluate.attacks.reach import l2_squared

SHAPE = 4, 4, 3


def ask(state: AttackState, weights: np.ndarray, bias: float, image: np.ndarray, queries: int) -> np.ndarray:
    """Run an attack on margin = bias + weights . (x - image), label 0 right above zero; give the last image asked."""
    canvas = image.copy()
    for _ in range(queries):
        if state.done:
            break
        state.propose(canvas)
        margin = float(bias + (weights * (canvas.astype(int) - image)).sum())
        state.tell(Answer(np.float32([margin, 0.0]), margin, wrong=margin < 0))
    return canvas


def test_blocks_halve_from_pass_to_pass_and_cover_everything() -> None:
    found = blocks(6)

    passes = [[next(found) for _ in range(count)] for count in (1, 2, 3, 6, 1)]

    assert [[(s.start, s.stop) for s in each] for each in passes] == [
        [(0, 6)],
        [(0, 3), (3, 6)],
        [(0, 2), (2, 4), (4, 6)],
        [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)],
        [(0, 6)],
    ]


def test_blocks_run_channel_by_channel() -> None:
    up = first_signs(np.zeros((2, 2, 3), np.uint8), None)

    assert turned(up, slice(0, 4))[..., 0].max() == 0
    assert turned(up, slice(0, 4))[..., 1:].min() == 255
    assert turned(up, slice(3, 5)).transpose(2, 0, 1).ravel().tolist() == [255] * 3 + [0] * 2 + [255] * 7
    assert (up == 255).all()


def test_a_whole_radius_moves_every_value_by_it_and_a_fraction_moves_that_share() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    ray = Ray(image, np.random.default_rng(0))
    signs = first_signs(image, None)

    assert (ray.at(signs, 7.0) == 107).all()
    moved = ray.at(~signs, 7.25)
    assert set(np.unique(moved)) == {92, 93}
    assert (moved == 92).mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("radius", [0.125, 1.0, 7.999, 255.0])
def test_a_ray_ends_within_the_radius_rounded_up(rng: np.random.Generator, radius: float) -> None:
    image = rng.integers(0, 256, SHAPE, dtype=np.uint8)

    assert linf_levels(Ray(image, rng).at(first_signs(image, None), radius), image) <= np.ceil(radius)


def test_signhunter_knows_every_sign_of_a_linear_margin_after_one_walk_down(rng: np.random.Generator) -> None:
    """Reference: its first pass over single values finds each sign of a separable function (their theorem 1)."""
    image = np.full(SHAPE, 100, np.uint8)
    weights = rng.normal(size=SHAPE)
    walk_down = 2 + sum(-(-48 // -(-48 // parts)) for parts in (1, 2, 4, 8, 16, 32, 64))
    attack = QUERY_ATTACKS["signhunter"].make({"eps": 3, "queries": walk_down})

    state = attack.begin(image, Goal(0), image_stream(0, attack.task, ""))
    ask(state, weights, 1e6, image, walk_down)

    np.testing.assert_array_equal(state.result(walk_down).adversarial, np.where(weights > 0, 97, 103).astype(np.uint8))


def test_rays_comes_near_the_smallest_radius_of_a_linear_classifier(rng: np.random.Generator) -> None:
    """Reference: the L-inf distance to a hyperplane is its margin over the L1 norm of its weights."""
    image = np.full(SHAPE, 128, np.uint8)
    weights = rng.normal(size=SHAPE)
    bias = 20 * np.abs(weights).sum()
    attack = QUERY_ATTACKS["rays"].make({"eps": 21, "queries": 700})

    state = attack.begin(image, Goal(0), image_stream(0, attack.task, ""))
    ask(state, weights, bias, image, attack.budget)

    result = state.result(0)
    assert result.success
    assert 20 <= result.linf <= 21


def test_l2_is_exact_where_uint8_would_wrap() -> None:
    a, b = np.zeros((224, 224, 3), np.uint8), np.full((224, 224, 3), 255, np.uint8)

    assert l2_squared(a, b) == l2_squared(b, a) == 224 * 224 * 3 * 255**2
