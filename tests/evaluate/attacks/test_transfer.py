from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.ball import make_ball
from robustmq_trt.evaluate.attacks.bsr import bsr
from robustmq_trt.evaluate.attacks.climb import Ascent, normalised
from robustmq_trt.evaluate.attacks.difgsm import difgsm
from robustmq_trt.evaluate.attacks.fgsm import fgsm
from robustmq_trt.evaluate.attacks.gradient import GradientSource, TransferResult, TransferTask, signs
from robustmq_trt.evaluate.attacks.mifgsm import mifgsm
from robustmq_trt.evaluate.attacks.nifgsm import nifgsm
from robustmq_trt.evaluate.attacks.pgd import pgd
from robustmq_trt.evaluate.attacks.pgn import pgn
from robustmq_trt.evaluate.attacks.tifgsm import tifgsm
from robustmq_trt.evaluate.attacks.vmifgsm import vmifgsm
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.catalog import PRESETS

Attack = Callable[..., TransferResult]


def iterated(
    attack: Attack, given: TransferTask, own: dict[str, object] | None = None, **ascent: Any
) -> TransferResult:
    return attack(given, Ascent(**ascent), **(own or {}))


ATTACKS: dict[str, Attack] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "mifgsm": partial(iterated, mifgsm),
    "nifgsm": partial(iterated, nifgsm),
    "sinifgsm": partial(iterated, nifgsm, own={"copies": 3}),
    "difgsm": partial(iterated, difgsm),
    "tifgsm": partial(iterated, tifgsm, own={"kernel": 3}),
    "ditifgsm": partial(iterated, tifgsm, own={"kernel": 4, "diversity": True}),
    "vmifgsm": partial(iterated, vmifgsm, own={"copies": 3}),
    "bsr": partial(iterated, bsr, own={"copies": 2}),
    "pgn": partial(iterated, pgn, own={"copies": 2}),
}


class Field:
    """A gradient that depends on image and label in a fixed, simple way; half of its values are zero if asked."""

    def __init__(self, zeros: bool = False) -> None:
        self.zeros = zeros
        self.seen: list[np.ndarray] = []

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        self.seen.append(images.copy())
        waves = np.sin(np.asarray(images, dtype=np.float64) * (1 + labels.reshape(-1, 1, 1, 1)) + np.arange(3)) + 0.01
        if self.zeros:
            waves[:, ::2] = 0
        return waves.astype(np.float32)


def task(images: np.ndarray, source: GradientSource, *, seed: int = 0) -> TransferTask:
    labels = images[:, 0, 0, 0] % 3
    hashes = [bytes(image.ravel()[:8]).hex() for image in images]
    return TransferTask(images=images, labels=labels, hashes=hashes, source=source, seed=seed)


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    drawn = rng.integers(0, 256, size=(5, 10, 12, 3), dtype=np.uint8)
    drawn[0], drawn[1] = 0, 255
    return drawn


@pytest.fixture(params=ATTACKS)
def attack(request: pytest.FixtureRequest) -> Attack:
    return ATTACKS[request.param]


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(ATTACKS)), eps=st.integers(1, 255), seed=st.integers(0, 99))
def test_no_pixel_moves_further_than_eps_grey_levels(name: str, eps: int, seed: int) -> None:
    originals = np.random.default_rng(seed).integers(0, 256, size=(3, 11, 10, 3), dtype=np.uint8)

    adversarials = ATTACKS[name](task(originals, Field(), seed=seed), eps=eps).adversarials

    assert adversarials.dtype == np.uint8
    assert np.abs(adversarials.astype(int) - originals.astype(int)).max() <= eps


def test_a_result_does_not_depend_on_the_other_images_of_the_batch(attack: Attack, images: np.ndarray) -> None:
    together = attack(task(images, Field()), eps=8)

    alone = [attack(task(images[i : i + 1], Field()), eps=8) for i in range(len(images))]

    np.testing.assert_array_equal(together.adversarials, np.concatenate([one.adversarials for one in alone]))
    np.testing.assert_array_equal(
        together.zero_gradient_shares, np.concatenate([one.zero_gradient_shares for one in alone])
    )


def test_the_originals_are_left_alone(attack: Attack, images: np.ndarray) -> None:
    before = images.copy()

    attack(task(images, Field()), eps=8)

    np.testing.assert_array_equal(images, before)


def test_no_images_give_no_adversarials(attack: Attack) -> None:
    result = attack(task(np.empty((0, 10, 10, 3), np.uint8), Field()), eps=8)

    assert result.adversarials.shape == (0, 10, 10, 3)
    assert result.zero_gradient_share == 0


def test_fgsm_moves_each_pixel_by_eps_along_the_sign(images: np.ndarray) -> None:
    given = task(images, Field())
    gradient = Field().gradient(images, given.labels)

    adversarials = fgsm(given, eps=5).adversarials

    expected = np.clip(images.astype(int) + 5 * np.sign(gradient).astype(int), 0, 255)
    np.testing.assert_array_equal(adversarials, expected)


def test_pixels_with_zero_gradient_stay_and_are_counted(images: np.ndarray) -> None:
    for attack in (fgsm, ATTACKS["mifgsm"]):
        result = attack(task(images, Field(zeros=True)), eps=4)

        np.testing.assert_array_equal(result.adversarials[:, ::2], images[:, ::2])
        np.testing.assert_array_equal(result.zero_gradient_shares, np.full(5, 0.5))
        assert result.zero_gradient_share == 0.5


def test_pgd_starts_uniformly_on_the_integers_of_the_ball_from_the_images_own_stream() -> None:
    grey = np.full((2, 64, 64, 3), 128, dtype=np.uint8)
    grey[1] += 1
    source = Field()
    given = task(grey, source, seed=3)

    pgd(given, eps=2, steps=1)

    moved = source.seen[0].astype(int) - grey
    np.testing.assert_array_equal(np.unique(moved), [-2, -1, 0, 1, 2])
    counts = np.bincount(moved.ravel() + 2)
    assert np.abs(counts / counts.sum() - 0.2).max() < 0.015
    stream = image_stream(3, "pgd:eps=2", given.hashes[1])
    np.testing.assert_array_equal(moved[1], stream.integers(-2, 2, size=(64, 64, 3), dtype=np.int16, endpoint=True))


def test_pgd_follows_the_projected_sign_steps(images: np.ndarray) -> None:
    source, eps = Field(), 6
    given = task(images, source)

    adversarials = pgd(given, eps=eps, steps=4, alpha=2).adversarials

    present = source.seen[0].astype(int)
    for _ in range(4):
        present = present + 2 * np.sign(Field().gradient(present.astype(np.uint8), given.labels)).astype(int)
        present = np.clip(np.clip(present, images.astype(int) - eps, images.astype(int) + eps), 0, 255)
    np.testing.assert_array_equal(adversarials, present)


@pytest.mark.parametrize("decay", [0.0, 1.0, 0.5])
def test_mifgsm_follows_equations_6_and_7(decay: float, images: np.ndarray) -> None:
    given, eps = task(images, Field()), 8

    adversarials = mifgsm(given, Ascent(eps=eps, steps=5, decay=decay)).adversarials

    present, momentum = images.astype(int), np.zeros(images.shape)
    for _ in range(5):
        gradient = Field().gradient(present.astype(np.uint8), given.labels).astype(np.float64)
        momentum = decay * momentum + gradient / np.abs(gradient).sum(axis=(1, 2, 3), keepdims=True)
        present = present + 2 * np.sign(momentum).astype(int)
        present = np.clip(np.clip(present, images.astype(int) - eps, images.astype(int) + eps), 0, 255)
    np.testing.assert_array_equal(adversarials, present)


def test_a_gradient_that_is_zero_everywhere_stays_zero() -> None:
    gradients = np.zeros((2, 2, 2, 3), np.float32)
    gradients[1, 0, 0] = [1, -2, 1]

    result = normalised(gradients)

    assert not result[0].any()
    np.testing.assert_array_equal(result[1, 0, 0], [3, -6, 3])


def test_signs_of_zero_and_nan_are_zero() -> None:
    np.testing.assert_array_equal(signs(np.array([-0.5, -0.0, 0.0, 2.0, np.nan])), [-1, 0, 0, 1, 0])


@pytest.mark.parametrize(("eps", "alpha"), [(1, 1), (2, 1), (4, 1), (8, 2), (16, 4)])
def test_the_default_step_is_a_quarter_of_eps_and_at_least_one_level(eps: int, alpha: int) -> None:
    assert make_ball(np.zeros((1, 2, 2, 3), np.uint8), eps=eps).size == alpha


@pytest.mark.parametrize("eps", [0, 256, 0.5, -1, True])
def test_a_radius_that_is_no_whole_grey_level_is_refused(attack: Attack, images: np.ndarray, eps: float) -> None:
    with pytest.raises(InputError, match="whole grey levels"):
        attack(task(images, Field()), eps=eps)


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (partial(pgd, eps=8, steps=0), "`steps`"),
        (partial(mifgsm, ascent=Ascent(eps=8, steps=0)), "`steps`"),
        (partial(pgd, eps=8, alpha=0), "`alpha`"),
        (partial(mifgsm, ascent=Ascent(eps=8, alpha=256)), "`alpha`"),
        (partial(mifgsm, ascent=Ascent(eps=8, decay=-1.0)), "`decay`"),
        (partial(mifgsm, ascent=Ascent(eps=8, decay=float("nan"))), "`decay`"),
        (partial(mifgsm, ascent=Ascent(eps=8), norm="l3"), "norm"),
        (partial(pgd, eps=0, norm="l2"), "`eps`"),
        (partial(pgd, eps=510, norm="l2", alpha=0), "`alpha`"),
        (partial(nifgsm, ascent=Ascent(eps=8), copies=0), "`copies`"),
        (partial(tifgsm, ascent=Ascent(eps=8), kernel=0), "`kernel`"),
        (partial(vmifgsm, ascent=Ascent(eps=8), copies=0), "`copies`"),
        (partial(vmifgsm, ascent=Ascent(eps=8), reach=-1), "`reach`"),
        (partial(pgn, ascent=Ascent(eps=8), copies=0), "`copies`"),
        (partial(bsr, ascent=Ascent(eps=8), copies=0), "`copies`"),
        (partial(bsr, ascent=Ascent(eps=8), blocks=11), "blocks"),
    ],
)
def test_settings_out_of_range_are_refused(call: Attack, part: str, images: np.ndarray) -> None:
    with pytest.raises(InputError, match=part):
        call(task(images, Field()))


def test_a_task_whose_parts_do_not_fit_is_refused(images: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8"):
        TransferTask(images=images.astype(np.float32), labels=np.zeros(5, int), hashes=["a"] * 5, source=Field())
    with pytest.raises(InputError, match="one label and one hash"):
        TransferTask(images=images, labels=np.zeros(4, int), hashes=["a"] * 5, source=Field())


def test_every_attack_raises_the_loss_of_a_small_network(attack: Attack, rng: np.random.Generator) -> None:
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N,3,10,10] x) => (float[N,4] y)
        <float[8,3,3,3] w, float[4,8] v>
        { c = Conv(x, w) r = Relu(c) g = GlobalAveragePool(r) f = Flatten(g) y = Gemm<transB=1>(f, v) }"""
    )
    del model.graph.value_info[:]
    for name, shape in (("w", (8, 3, 3, 3)), ("v", (4, 8))):
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    twin = Twin.open(model, PRESETS["cifar10"].for_size(10, 10), threads=1)
    originals = rng.integers(30, 220, size=(6, 10, 10, 3), dtype=np.uint8)
    labels = twin.scores(originals).argmax(axis=1)
    given = TransferTask(images=originals, labels=labels, hashes=[str(i) for i in range(6)], source=twin)

    def losses(images: np.ndarray) -> np.ndarray:
        scores = twin.scores(images).astype(np.float64)
        return np.log(np.exp(scores - scores[range(6), labels][:, None]).sum(axis=1))

    assert (losses(attack(given, eps=8).adversarials) > losses(originals)).all()
