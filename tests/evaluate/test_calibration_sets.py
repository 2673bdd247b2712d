"""The calibration sets of the study: what each changes, and that it changes nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.calibration_sets import calibration_sets, checkerboards
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.dataset import UNLABELLED, Dataset, Sample


@pytest.fixture(scope="module")
def pool(colours) -> Dataset:
    """60 images; class 0 has 30, classes 1 to 3 have 10 each."""
    labels = [0] * 30 + [1] * 10 + [2] * 10 + [3] * 10
    samples = [
        Sample(name=str(i), label=label, source=image)
        for i, (label, image) in enumerate(zip(labels, colours[:60], strict=True))
    ]
    return Dataset(samples=tuple(samples))


@pytest.fixture(scope="module")
def sets(pool, tiny_net, tiny_pipeline):
    twin = Twin.open(tiny_net, tiny_pipeline, threads=1)
    return {entry.name: entry for entry in calibration_sets(pool, tiny_pipeline, size=20, twin=twin)}


def tensors(entry) -> np.ndarray:
    return np.concatenate(list(entry.batches(1)))


def labels(entry) -> np.ndarray:
    return np.bincount([sample.label for sample in entry.dataset.samples], minlength=4)


def changed(entry, sets) -> int:
    return int((tensors(entry) != tensors(sets["random:20,seed=0"])).any(axis=(1, 2, 3)).sum())


def test_the_baseline_comes_first_and_every_kind_is_there(sets):
    assert next(iter(sets)) == "random:20,seed=0"
    assert set(sets) >= {
        *("random:8,seed=2", "random:32,seed=1", "all", "one-class", "balanced", "gaussian_noise:5"),
        *("uniform-noise", "preset:opencv-nearest", "preset:swapped-channels"),
        *("poison:checkerboard", "poison:mifgsm"),
    }


def test_a_size_beyond_the_pool_is_missing_with_its_reason(sets):
    assert {name for name, entry in sets.items() if entry.missing} == {f"random:128,seed={seed}" for seed in range(3)}
    assert sets["random:128,seed=0"].missing == "the pool holds 60 images"


def test_sizes_and_seeds_are_what_their_names_say(sets):
    assert [len(tensors(sets[name])) for name in ("random:8,seed=0", "random:32,seed=1", "all")] == [8, 32, 60]
    assert sets["random:8,seed=0"].data_sha256 != sets["random:8,seed=1"].data_sha256


def test_balanced_classes_differ_by_one_image_at_most(sets):
    assert np.ptp(labels(sets["balanced"])) <= 1
    assert len(sets["balanced"].dataset) == 20


def test_one_class_is_the_largest_alone(sets):
    assert list(labels(sets["one-class"])) == [20, 0, 0, 0]


def test_without_labels_the_class_sets_are_missing(pool, tiny_pipeline):
    blind = replace(pool, samples=tuple(replace(sample, label=UNLABELLED) for sample in pool.samples))

    found = {entry.name: entry.missing for entry in calibration_sets(blind, tiny_pipeline, size=20)}

    assert found["one-class"] == found["balanced"] == "the pool's images have no labels"
    assert "twin" in found["poison:mifgsm"]


@pytest.mark.parametrize("name", ["poison:checkerboard", "poison:mifgsm"])
def test_poison_changes_one_image_in_twenty(sets, name):
    assert changed(sets[name], sets) == 1


@pytest.mark.parametrize(
    "name", ["gaussian_noise:5", "uniform-noise", "preset:opencv-nearest", "preset:swapped-channels"]
)
def test_the_other_sets_change_the_images_and_not_which_they_are(sets, name):
    assert changed(sets[name], sets) == 20
    assert sets[name].dataset == sets["random:20,seed=0"].dataset


def test_swapped_channels_are_the_same_values_in_the_other_order(sets):
    assert (tensors(sets["preset:swapped-channels"]) == tensors(sets["random:20,seed=0"])[:, ::-1]).all()


def test_every_set_is_the_same_on_a_second_reading(sets):
    for entry in sets.values():
        if not entry.missing:
            assert (tensors(entry) == tensors(entry)).all()


def test_a_checkerboard_has_squares_of_two_pixels():
    board = checkerboards(np.zeros((1, 4, 4, 3), np.uint8))[0, ..., 0]

    assert board.tolist() == [[0, 0, 255, 255], [0, 0, 255, 255], [255, 255, 0, 0], [255, 255, 0, 0]]


def test_a_pool_below_the_baseline_is_refused(pool, tiny_pipeline):
    with pytest.raises(InputError, match="at least 61"):
        calibration_sets(pool, tiny_pipeline, size=61)
