import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustmq_trt.evaluate.attacks.ball import Norm, make_ball
from robustmq_trt.evaluate.attacks.climb import Ascent
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.attacks.mifgsm import mifgsm
from robustmq_trt.evaluate.attacks.pgd import pgd

POWERS: dict[Norm, int] = {"l2": 2, "l1": 1}


class Slope:
    """A gradient that is the same everywhere, of very different sizes from value to value."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.values = np.random.default_rng(4).normal(size=shape).astype(np.float32) ** 3

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.values, images.shape).astype(np.float32)


def task(images: np.ndarray) -> TransferTask:
    hashes = [f"{i:02x}" for i in range(len(images))]
    return TransferTask(images=images, labels=np.zeros(len(images), int), hashes=hashes, source=Slope(images.shape[1:]))


def lengths(adversarials: np.ndarray, originals: np.ndarray, norm: Norm) -> np.ndarray:
    moved = np.abs(adversarials.astype(np.int64) - originals.astype(np.int64))
    return (moved ** POWERS[norm]).sum(axis=(1, 2, 3)) ** (1 / POWERS[norm])


@settings(max_examples=40, deadline=None)
@given(norm=st.sampled_from(["l1", "l2"]), eps=st.integers(1, 3000), seed=st.integers(0, 99), steps=st.integers(1, 3))
def test_what_is_delivered_lies_in_the_ball_in_integers(norm: Norm, eps: int, seed: int, steps: int) -> None:
    originals = np.random.default_rng(seed).integers(0, 256, (2, 8, 6, 3), dtype=np.uint8)

    for result in (
        pgd(task(originals), eps=eps, steps=steps, norm=norm),
        mifgsm(task(originals), Ascent(eps=eps, steps=steps), norm=norm),
    ):
        assert result.adversarials.dtype == np.uint8
        assert lengths(result.adversarials, originals, norm).max() <= eps


@pytest.mark.parametrize(("norm", "eps"), [("l2", 127), ("l2", 510), ("l1", 2550), ("l1", 25500)])
def test_a_radius_below_a_level_per_value_is_used_up_along_the_gradient(norm: Norm, eps: int) -> None:
    grey = np.full((1, 100, 80, 3), 128, dtype=np.uint8)
    given = task(grey)

    adversarials = mifgsm(given, Ascent(eps=eps, steps=4), norm=norm).adversarials

    moved = adversarials.astype(float) - grey
    assert lengths(adversarials, grey, norm)[0] >= 0.98 * eps
    assert (moved * given.source.gradient(grey, given.labels) >= 0).all()


def test_an_l2_step_has_the_length_asked_for_and_the_direction_of_the_gradient() -> None:
    grey = np.full((2, 5, 5, 3), 100, dtype=np.uint8)
    ball = make_ball(grey, eps=400, norm="l2", alpha=30)
    direction = np.random.default_rng(0).normal(size=grey.shape).astype(np.float32)

    moved = ball.step(grey, direction) - grey.astype(np.float64)

    np.testing.assert_allclose(np.sqrt((moved**2).sum(axis=(1, 2, 3))), 30, rtol=1e-5)
    np.testing.assert_allclose(moved[0] / direction[0], moved[0, 0, 0, 0] / direction[0, 0, 0, 0], rtol=1e-3)


def test_a_point_outside_is_scaled_back_onto_the_ball() -> None:
    grey = np.full((1, 5, 5, 3), 100, dtype=np.uint8)
    ball = make_ball(grey, eps=50, norm="l1", alpha=80)
    direction = np.random.default_rng(0).normal(size=grey.shape).astype(np.float32)

    moved = ball.step(grey, direction) - grey.astype(np.float64)

    np.testing.assert_allclose(np.abs(moved).sum(), 50, rtol=1e-5)


def test_a_zero_direction_moves_nothing() -> None:
    grey = np.full((2, 5, 5, 3), 100, dtype=np.uint8)
    for norm in ("linf", "l2", "l1"):
        moved = make_ball(grey, eps=50, norm=norm).step(grey, np.zeros(grey.shape, np.float32))

        np.testing.assert_array_equal(moved, grey)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_starts_are_uniform_in_the_ball(norm: Norm) -> None:
    grey = np.full((400, 1, 1, 3), 128, dtype=np.uint8)

    starts = make_ball(grey, eps=100, norm=norm).start(task(grey), "start")

    moved = np.abs(starts.astype(np.float64) - 128).reshape(400, 3)
    radii = (moved ** POWERS[norm]).sum(axis=1) ** (1 / POWERS[norm])
    assert radii.max() <= 100.001
    inner = (radii < 100 * 0.5 ** (1 / 3)).mean()  # half of the volume
    assert abs(inner - 0.5) < 0.08


def test_the_default_step_of_l2_and_l1_is_that_of_robustmq() -> None:
    grey = np.zeros((1, 2, 2, 3), np.uint8)

    assert make_ball(grey, eps=408_000, norm="l1").size == pytest.approx(30_600)  # ART's eps_step 120 at eps 1600
    assert make_ball(grey, eps=510, norm="l2").size == pytest.approx(0.075 * 510)
