"""A claim is yes, no or not distinguishable by one stated rule."""

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.claims import claim, corruption_claims, kernel_shares, resize_claims
from robustmq_trt.evaluate.conditions import Condition
from robustmq_trt.evaluate.metrics import Study
from robustmq_trt.evaluate.results import Cell, Results


@pytest.fixture
def values(rng):
    image = rng.random(400)
    return {name: (rng.random((400, 4)) < image[:, None] * level).mean(axis=1) for name, level in LEVELS.items()}


LEVELS = {"low": 0.3, "middle": 0.7, "again": 0.7, "high": 1.0}


@pytest.mark.parametrize(
    ("pairs", "answer"),
    [
        ([("low", "middle"), ("low", "high")], "yes"),
        ([("low", "middle"), ("middle", "again")], "not distinguishable"),
        ([("low", "middle"), ("high", "middle")], "no"),
        ([("middle", "again"), ("high", "middle")], "no"),
    ],
)
def test_yes_needs_every_ordering_and_no_needs_one_the_other_way(values, pairs, answer):
    assert claim("it is so", values, pairs, engine="e").answer == answer


def test_the_evidence_stands_beside_the_answer(values):
    document = claim("it is so", values, [("low", "high")], engine="e").to_json()

    (ordering,) = document["orderings"]
    assert document["answer"] == ordering["verdict"] == "yes"
    assert ordering["low"] <= ordering["difference"] <= ordering["high"] < 0
    assert document["means"]["low"] - document["means"]["high"] == pytest.approx(ordering["difference"])
    assert document["n"] == 400


@pytest.mark.parametrize("pairs", [[], [("low", "unheard")]])
def test_what_was_not_measured_is_refused(values, pairs):
    with pytest.raises(InputError, match="it is so"):
        claim("it is so", values, pairs, engine="e")


def corruption_study(levels):
    rng = np.random.default_rng(0)
    conditions, cells = [], {}
    for name, level in levels.items():
        for severity in (1, 5):
            condition = Condition(kind="corruption", name=name, settings=(("severity", severity),))
            conditions.append(condition)
            correct = rng.random(300) < level
            cells["e", condition.label] = Cell(
                valid=np.arange(300) > 0,
                correct=correct,
                tied=correct,
                prediction=correct.astype(np.int64),
                queries=np.zeros(300, np.int64),
                zero_gradient=np.zeros(300),
                reached=np.zeros(300, dtype=bool),
                identity={},
            )
    results = Results(cells=cells, missing={})
    return Study(results=results, engines=["e"], conditions=conditions, seed=0, classes=10)


def test_the_third_claim_holds_where_noise_is_as_robustmq_found_it():
    study = corruption_study({"impulse_noise": 0.2, "glass_blur": 0.25, "fog": 0.6, "brightness": 0.9})

    assert [found.answer for found in corruption_claims(study, "e")] == ["yes", "yes"]


def test_the_third_claim_falls_where_another_corruption_is_worse():
    study = corruption_study({"impulse_noise": 0.5, "glass_blur": 0.5, "fog": 0.2, "brightness": 0.9})

    worst, mildest = corruption_claims(study, "e")

    assert (worst.answer, mildest.answer) == ("no", "yes")
    assert worst.n == 299


def test_a_run_without_glass_blur_answers_nothing():
    with pytest.raises(InputError, match="glass_blur"):
        corruption_claims(corruption_study({"impulse_noise": 0.5, "brightness": 0.9}), "e")


@pytest.fixture
def grid(made_up):
    """Make answers whose accuracy in each way is what is asked for; easy images are easy in every way."""
    image = np.random.default_rng(1).random(400)
    return lambda levels: made_up({("e", way): image < level for way, level in levels.items()})


def test_kernels_of_both_libraries_and_all_decoders_are_one_group(grid):
    served = grid({"pillow/pillow-bicubic": 0.5, "opencv/opencv-cubic": 0.7, "ffmpeg/opencv-nearest": 0.1})

    shares = kernel_shares(served, "e")

    assert set(shares) == {"cubic", "nearest"}
    np.testing.assert_allclose(
        shares["cubic"],
        (0.0 + served.right("e", "pillow/pillow-bicubic") + served.right("e", "opencv/opencv-cubic")) / 2,
    )


def test_the_fourth_claim_is_answered_in_two_parts(grid):
    levels = {"bilinear": 0.9, "bicubic": 0.9, "area": 0.9, "box": 0.9, "hamming": 0.8, "lanczos": 0.8, "nearest": 0.5}

    worst, mildest = resize_claims(grid({f"pillow/pillow-{kernel}": level for kernel, level in levels.items()}), "e")

    assert (worst.answer, mildest.answer) == ("yes", "not distinguishable")
    assert len(worst.orderings) == 6
    assert len(mildest.orderings) == 12
