"""What holds for every attack learned on other images, and for the controls beside them."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.catalog import (
    ATTACKS,
    LearnedEntry,
    access_used,
    bound_name,
    controls,
    is_learned,
    is_transfer,
    needs_surrogate,
    parse_attack,
    strength,
)
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.attacks.learn import Craft, Lesson
from robustmq_trt.evaluate.attacks.patch import draw_place, patch, patch_control, side_of
from robustmq_trt.evaluate.attacks.universal import universal
from robustmq_trt.evaluate.twin.twin import InputGradient

LEARNED = [name for name, entry in ATTACKS.items() if isinstance(entry, LearnedEntry)]


class Waves:
    """Scores that do not change, and a gradient that depends on the pixels; half of it zero if asked."""

    def __init__(self, zeros: bool = False) -> None:
        self.zeros = zeros

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self.scored_gradient(images, labels).gradient

    def scored_gradient(self, images: np.ndarray, labels: np.ndarray) -> InputGradient:
        waves = np.sin(images.astype(np.float64) + np.arange(3)) + 0.01
        if self.zeros:
            waves[:, ::2] = 0
        return InputGradient(scores=np.zeros((len(images), 4), np.float32), gradient=waves.astype(np.float32))


def drawn(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 20, 3), dtype=np.uint8)


def task(images: np.ndarray, seed: int = 0) -> TransferTask:
    hashes = [bytes(image.ravel()[:8]).hex() for image in images]
    return TransferTask(images=images, labels=np.zeros(len(images), int), hashes=hashes, source=Waves(), seed=seed)


def learned(name: str, zeros: bool = False, **given: int) -> Craft:
    entry = ATTACKS[name]
    assert isinstance(entry, LearnedEntry)
    lesson = Lesson(images=drawn(40, seed=9), labels=np.zeros(40, int), source=Waves(zeros))
    return entry.learn(lesson, {**entry.defaults, "steps": 3, **given})


@pytest.fixture(params=[*LEARNED, "patch_control"])
def craft(request: pytest.FixtureRequest) -> Craft:
    return partial(patch_control, area=5) if request.param == "patch_control" else learned(request.param)


def test_a_result_does_not_depend_on_the_other_images_of_the_batch(craft: Craft) -> None:
    images = drawn(5)

    together = craft(task(images)).adversarials

    assert together.dtype == np.uint8
    for i in range(5):
        np.testing.assert_array_equal(craft(task(images[i : i + 1])).adversarials[0], together[i])


def test_the_originals_are_left_alone(craft: Craft) -> None:
    images = drawn(3)

    craft(task(images))

    np.testing.assert_array_equal(images, drawn(3))


def test_no_images_give_no_adversarials(craft: Craft) -> None:
    assert craft(task(drawn(0))).adversarials.shape == (0, 16, 20, 3)


@pytest.mark.parametrize("name", LEARNED)
def test_learning_twice_gives_the_same(name: str) -> None:
    first, second = (learned(name)(task(drawn(4))).adversarials for _ in range(2))

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", LEARNED)
def test_the_zero_gradients_of_learning_are_each_images_own(name: str) -> None:
    np.testing.assert_array_equal(learned(name, zeros=True)(task(drawn(3))).zero_gradient_shares, [0.5] * 3)


@settings(max_examples=20, deadline=None)
@given(eps=st.integers(1, 255), seed=st.integers(0, 99))
def test_no_pixel_moves_further_than_eps_grey_levels(eps: int, seed: int) -> None:
    images = drawn(3, seed)

    moved = learned("universal", eps=eps)(task(images)).adversarials.astype(int) - images

    assert np.abs(moved).max() <= eps


def test_patch_and_control_cover_the_same_pixels_and_no_other() -> None:
    black = np.zeros((4, 16, 20, 3), np.uint8)
    black[:, 0, 0, 0] = range(4)  # four images, four streams
    given, side = task(black, seed=3), side_of(20, 16, 20)
    weights = [draw_place(rng, side, 16, 20).weights.sum(axis=0) for rng in given.streams("patch placement")]
    cover = np.stack(weights).reshape(4, 16, 20)

    for made in (learned("patch", area=20)(given), patch_control(given, area=20)):
        changed = (made.adversarials != black).any(axis=3)
        assert not changed[cover == 0].any()
        assert changed[cover > 0.9].mean() > 0.9  # a patch may be black somewhere

    assert len({mask.tobytes() for mask in cover > 0}) == 4


@settings(max_examples=50, deadline=None)
@given(side=st.integers(1, 12), seed=st.integers(0, 999))
def test_the_whole_square_lies_on_the_image(side: int, seed: int) -> None:
    """A turned square loses nothing at the borders but half of its soft edge."""
    weights = draw_place(image_stream(seed, "test", ""), side, 24, 32).weights.sum(axis=0)

    assert weights.max() <= 1 + 1e-9
    assert abs(weights.sum() - side**2) < 0.3 * side + 0.3


@pytest.mark.parametrize(("area", "size", "part"), [(0, (32, 32), "`area`"), (51, (32, 32), "`area`")])
def test_an_area_out_of_range_is_refused(area: int, size: tuple[int, int], part: str) -> None:
    with pytest.raises(InputError, match=part):
        side_of(area, *size)


@pytest.mark.parametrize("size", [(4, 400), (1, 1)])
def test_a_square_that_does_not_fit_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="does not fit"):
        side_of(50, *size)


@pytest.mark.parametrize("eps", [0, 256])
def test_a_radius_that_is_no_whole_grey_level_is_refused(eps: int) -> None:
    lesson = Lesson(images=drawn(2), labels=np.zeros(2, int), source=Waves())
    with pytest.raises(InputError, match="whole grey levels"):
        universal(lesson, eps=eps, steps=1)
    with pytest.raises(InputError, match="`area`"):
        patch(lesson, area=eps, steps=1)


@pytest.mark.parametrize(("text", "percent"), [("5", 5), ("0.05", 5), (".5", 50), ("0.12", 12)])
def test_an_area_is_a_percentage_or_a_share(text: str, percent: int) -> None:
    condition = parse_attack(f"patch:area={text}")

    assert condition["area"] == percent
    assert parse_attack(condition.label) == condition


@pytest.mark.parametrize("text", ["0", "51", "0.005", "5%", "1.5", "0.0", "0.51", ""])
def test_an_area_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="`area`"):
        parse_attack(f"patch:area={text}")


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_attack_is_a_transfer_attack_that_asks_nothing(name: str) -> None:
    condition = parse_attack(name)

    assert is_learned(condition)
    assert is_transfer(condition)
    assert needs_surrogate(condition)
    assert access_used(condition, "logits") == "none"


def test_a_patch_has_an_area_and_no_eps() -> None:
    condition = parse_attack("patch:area=0.1")

    assert "eps" not in dict(condition.settings)
    assert strength(condition) == strength(parse_attack("patch_control:area=10")) == "norm=patch,area=10"
    assert (bound_name(condition), bound_name(parse_attack("universal"))) == ("area", "eps")


def test_the_control_of_a_patch_has_its_area() -> None:
    attacks = [parse_attack(spec) for spec in ("patch:area=7", "universal", "square", "mifgsm")]

    assert controls(attacks) == [parse_attack("patch_control:area=7")]


def test_the_control_of_a_patch_takes_its_route() -> None:
    routed = parse_attack("patch:area=7").via("jpeg:90")

    assert controls([routed]) == [parse_attack("patch_control:area=7").via("jpeg:90")]
