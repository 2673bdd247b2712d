"""Planted pictures are resized to what was wanted, change no more than they must, and survive real files."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy import optimize

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.decoded_sets import Way
from robustmq_trt.evaluate.scaling_attack import PICTURES, Pair, Sight, plant, scaling_pairs, scaling_records
from robustmq_trt.inputs.dataset import Dataset, Sample
from robustmq_trt.inputs.pipeline import Pipeline


@pytest.fixture
def picture(rng):
    """(64, 64, 3) uint8, smooth."""
    small = rng.integers(40, 216, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(small, (64, 64), interpolation=cv2.INTER_LINEAR)


@pytest.fixture
def wanted(rng):
    """(8, 8, 3) uint8, black and white included."""
    return rng.choice(np.array([0, 60, 128, 200, 255], np.uint8), (8, 8, 3))


@pytest.mark.parametrize(
    ("resize", "changed", "error"),
    [
        ("opencv-nearest", 1 / 64, 0),
        ("opencv-linear", 1 / 16, 1),
        ("opencv-cubic", 1 / 4, 2),
        ("opencv-area", 1, 1),
    ],
)
def test_the_preset_makes_the_wanted_picture_of_the_planted_one(picture, wanted, tiny_pipeline, resize, changed, error):
    pipeline = replace(tiny_pipeline, resize=resize)

    planted = plant(picture, wanted, Sight.of(pipeline, 64, 64))

    np.testing.assert_allclose(pipeline.load(planted).astype(int), wanted.astype(int), atol=error)
    assert (planted != picture).any(axis=2).mean() <= changed
    assert planted.dtype == np.uint8


def test_a_kernel_that_blurs_makes_a_wanted_picture_that_is_smooth(picture, tiny_pipeline, rng):
    wanted = cv2.resize(rng.integers(60, 196, (3, 3, 3), dtype=np.uint8), (8, 8), interpolation=cv2.INTER_LINEAR)

    planted = plant(picture, wanted, Sight.of(tiny_pipeline, 64, 64))

    np.testing.assert_allclose(tiny_pipeline.load(planted).astype(int), wanted.astype(int), atol=1)


def test_the_change_is_the_least_that_does_it(tiny_pipeline, rng):
    """Against a general solver: minimise the squares subject to the resized picture and to 0..255."""
    pipeline = replace(tiny_pipeline, resize="opencv-area", size=(2, 2))
    picture = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    wanted = np.array([[[250] * 3, [20] * 3], [[130] * 3, [5] * 3]], np.uint8)
    sight = Sight.of(pipeline, 8, 8)

    planted = plant(picture, wanted, sight)

    matrix = np.kron(sight.rows, sight.columns)
    for channel in range(3):
        start, goal = (side[..., channel].ravel().astype(float) for side in (picture, wanted))
        best = optimize.minimize(
            lambda x, start=start: np.square(x - start).sum() / 1e4,
            np.clip(start, 1, 254),
            jac=lambda x, start=start: 2 * (x - start) / 1e4,
            bounds=[(0, 255)] * 64,
            constraints={"type": "eq", "fun": lambda x, goal=goal: matrix @ x - goal, "jac": lambda x: matrix},
            method="SLSQP",
        )
        assert best.success
        change = np.linalg.norm(planted[..., channel].ravel() - start)
        assert change == pytest.approx(np.linalg.norm(best.x - start), rel=0.02)


def test_a_crop_and_an_oblong_picture_are_solved_too(wanted, tiny_pipeline, rng):
    pipeline = replace(tiny_pipeline, resize="opencv-linear", geometry="short-side-crop", crop_fraction=0.5)
    picture = rng.integers(0, 256, (80, 128, 3), dtype=np.uint8)

    planted = plant(picture, wanted, Sight.of(pipeline, 80, 128))

    np.testing.assert_allclose(pipeline.load(planted).astype(int), wanted.astype(int), atol=2)


def test_a_preset_that_puts_a_border_around_pictures_is_refused(tiny_pipeline):
    with pytest.raises(InputError, match="border"):
        Sight.of(replace(tiny_pipeline, geometry="letterbox-black"), 64, 128)


@pytest.fixture
def pairs(rng):
    """Dark pictures in which bright ones are to be planted; the engine sees four levels of brightness."""
    dark, bright = (rng.integers(*levels, (64, 64, 3), dtype=np.uint8) for levels in ((5, 40), (220, 250)))
    return [
        Pair(large=dark, label=0, other=bright, other_label=3),
        Pair(large=bright, label=3, other=dark, other_label=0),
    ]


def test_what_a_preset_overlooks_fools_it_and_not_its_defence(pairs, tiny_pipeline, pixel_target):
    ways = [Way(name=name, pipeline=replace(tiny_pipeline, resize=f"opencv-{name}")) for name in ("nearest", "area")]

    records = scaling_records([pixel_target("engine", tiny_pipeline)], pairs, ways)

    found = {(r.engine, r.condition, r.metric): r for r in records}
    assert found["engine", "nearest, served nearest", "attack_success"].value == 1
    assert found["engine", "nearest, served area", "attack_success"].value == 0
    assert found["engine", "nearest, served area", "survived"].value == 1
    assert found[PICTURES, "nearest", "changed_pixels"].value == pytest.approx(1 / 64)
    assert found[PICTURES, "nearest", "pixel_error"].value == 0
    # Area gives no leverage: the whole picture has to change.
    assert found["engine", "area, served area", "attack_success"].value == 1
    ratio = found[PICTURES, "nearest", "source_change"].value / found[PICTURES, "area", "source_change"].value
    assert ratio == pytest.approx(1 / 8, rel=0.1)


def test_pairs_that_the_engine_gets_wrong_without_an_attack_do_not_count(pairs, tiny_pipeline, pixel_target):
    mislabelled = [replace(pairs[0], label=2), pairs[1]]

    records = scaling_records(
        [pixel_target("engine", tiny_pipeline)], mislabelled, [Way(name="a", pipeline=tiny_pipeline)]
    )

    assert {r.n for r in records if r.engine == "engine"} == {1}


def test_an_engine_that_breaks_costs_its_own_cells_alone(pairs, tiny_pipeline, pixel_target, dying):
    ways = [Way(name=name, pipeline=replace(tiny_pipeline, resize=f"opencv-{name}")) for name in ("nearest", "area")]
    sound = pixel_target("sound", tiny_pipeline)
    broken = dying(pixel_target("broken", tiny_pipeline), 6)  # the pictures of the first preset, served in two ways

    records = scaling_records([sound, broken], pairs, ways)

    failed = [(r.engine, r.condition, r.metric, r.n) for r in records if r.flags]
    assert failed == [("broken", f"area, served {name}", "attack_success", 0) for name in ("nearest", "area")]
    assert {flag for r in records for flag in r.flags} == {"failed: RuntimeError: out of order"}
    assert [r for r in records if r.engine == "sound"] == [
        r for r in scaling_records([sound], pairs, ways) if r.engine == "sound"
    ]


def test_a_preset_whose_package_is_missing_is_a_row_with_its_reason(pairs, tiny_pipeline, pixel_target, monkeypatch):
    absent = property(lambda pipeline: "Install it." if pipeline.resize == "opencv-area" else "")
    monkeypatch.setattr(Pipeline, "missing", absent)
    ways = [Way(name=name, pipeline=replace(tiny_pipeline, resize=f"opencv-{name}")) for name in ("nearest", "area")]

    records = scaling_records([pixel_target("engine", tiny_pipeline)], pairs, ways)

    assert [r.condition for r in records if r.n and r.engine == "engine"] == ["nearest, served nearest"] * 2
    assert [(r.condition, r.n, r.flags) for r in records if r.flags] == [("area", 0, ("missing: Install it.",))]


def test_a_preset_that_cannot_be_attacked_is_refused_before_an_engine_is_asked(pairs, tiny_pipeline, pixel_target):
    engine = pixel_target("engine", tiny_pipeline)
    ways = [Way(name="own", pipeline=tiny_pipeline), Way(name="up", pipeline=replace(tiny_pipeline, size=(65, 65)))]

    with pytest.raises(InputError, match="fewer rows"):
        scaling_records([engine], pairs, ways)

    assert not engine.engine.shown


def test_scores_that_are_not_finite_count_as_no_answer_and_are_told(pairs, tiny_pipeline, pixel_target):
    engine = pixel_target("engine", tiny_pipeline)
    answer = engine.engine.infer
    calls = iter((False, False, True))  # clean large pictures, clean small ones, planted ones
    engine.engine.infer = lambda batch: answer(batch) * (np.nan if next(calls) else 1)

    records = scaling_records([engine], pairs, [Way(name="a", pipeline=tiny_pipeline)])

    found = {r.metric: r for r in records if r.engine == "engine"}
    assert (found["attack_success"].value, found["survived"].value) == (0, 0)
    assert found["survived"].flags == ("2 of 2 images without finite scores",)


def test_pairs_are_neighbours_of_different_classes_that_decode(tiny_pipeline, rng, tmp_path):
    images = [rng.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(5)]
    (tmp_path / "bad.png").write_bytes(b"no")
    sources = [*images[:3], images[3], tmp_path / "bad.png", images[4]]
    labels = [0, 1, 2, 2, 3, 1]
    samples = [
        Sample(name=str(i), label=label, source=s) for i, (s, label) in enumerate(zip(sources, labels, strict=True))
    ]

    (pair,) = scaling_pairs(Dataset(samples=tuple(samples)), tiny_pipeline, side=48)

    assert (pair.label, pair.other_label) == (0, 1)
    assert pair.large.shape == (48, 48, 3)
    np.testing.assert_array_equal(pair.other, images[1][:, 5:25])


def test_an_attack_without_a_pair_is_refused(tiny_pipeline, pixel_target):
    with pytest.raises(InputError, match="No two pictures"):
        scaling_records([pixel_target("engine", tiny_pipeline)], [], [Way(name="a", pipeline=tiny_pipeline)])
