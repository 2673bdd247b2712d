"""What every corruption promises, and the one call that runs any of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.evaluate.corruptions.catalog import (
    CORRUPTIONS,
    EXTRA,
    IMAGENET_C,
    corrupt,
    corrupt_with,
    corruption_task,
    find_corruption,
    missing,
)
from robustmq_trt.evaluate.corruptions.legacy import legacy_draws
from robustmq_trt.evaluate.corruptions.parameters import (
    PARAMETER_SETS,
    SEVERITIES,
    ParameterSet,
    default_parameters,
)

CASES = [(parameters, severity) for parameters in PARAMETER_SETS for severity in SEVERITIES]

images = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))
names = st.sampled_from(sorted(CORRUPTIONS))
severities = st.sampled_from(SEVERITIES)
sets = st.sampled_from(PARAMETER_SETS)


@given(image=images, name=names, severity=severities, parameters=sets, seed=st.integers(0, 2**40))
@settings(max_examples=150, deadline=None)
def test_any_image_keeps_its_size_and_is_not_modified_and_the_stream_decides(
    frost_dir: Path, image: np.ndarray, name: str, severity: int, parameters: ParameterSet, seed: int
) -> None:
    before = image.copy()

    first, second = (
        corrupt(image, name, severity=severity, seed=seed, parameters=parameters, frost_dir=frost_dir) for _ in range(2)
    )

    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert not np.shares_memory(first, image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(first, second)


@given(image=images, name=names, severity=severities, parameters=sets)
@settings(max_examples=50, deadline=None)
def test_apply_changes_neither_image_nor_draws(
    frost_dir: Path, image: np.ndarray, name: str, severity: int, parameters: ParameterSet
) -> None:
    corruption = find_corruption(name, frost_dir=frost_dir)
    rng = np.random.default_rng(0)
    draws = () if corruption.draw is None else corruption.draw(rng, image.shape, severity, parameters)
    for array in (image, *draws):
        array.setflags(write=False)

    first, second = (corruption.apply(image, draws, severity, parameters) for _ in range(2))

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("view", ["reversed channels", "every second row", "transposed"])
@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_strided_images_give_the_same_bytes_as_their_copies(
    name: str, view: str, photograph: np.ndarray, frost_dir: Path
) -> None:
    strided = {
        "reversed channels": photograph[:, :, ::-1],
        "every second row": photograph[::2],
        "transposed": photograph.transpose(1, 0, 2),
    }[view]

    np.testing.assert_array_equal(
        corrupt(strided, name, severity=3, frost_dir=frost_dir),
        corrupt(np.ascontiguousarray(strided), name, severity=3, frost_dir=frost_dir),
    )


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, True])
@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_severities_out_of_1_to_5_are_refused(
    name: str, severity: int, photograph: np.ndarray, frost_dir: Path
) -> None:
    with pytest.raises(InputError, match=rf"Expected `severity` in 1\.\.5, got {severity}"):
        corrupt(photograph, name, severity=severity, frost_dir=frost_dir)


def test_unknown_names_and_parameter_sets_get_a_hint(photograph: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"Unknown corruption 'gausian_noise'\. Did you mean 'gaussian_noise'"):
        corrupt(photograph, "gausian_noise", severity=1)
    with pytest.raises(InputError, match=r"Unknown parameter set 'imagenet'\. Did you mean 'imagenet-c'"):
        corrupt(photograph, "jpeg", severity=1, parameters="imagenet")  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"Expected an image \(H, W, 3\) uint8"):
        corrupt(image, "jpeg", severity=1)
    with pytest.raises(InputError, match=r"Expected an image \(H, W, 3\) uint8"):
        corrupt_with(image, "jpeg", 1, np.random.default_rng(0), "imagenet-c")


@pytest.mark.parametrize(
    ("size", "expected"), [((32, 32), "cifar10-c"), ((64, 900), "cifar10-c"), ((65, 65), "imagenet-c")]
)
def test_the_parameter_set_follows_the_short_side(size: tuple[int, int], expected: ParameterSet) -> None:
    image = np.full((*size, 3), 100, np.uint8)

    assert default_parameters(*size) == expected
    np.testing.assert_array_equal(
        corrupt(image, "brightness", severity=1), corrupt(image, "brightness", severity=1, parameters=expected)
    )


def test_seeds_images_severities_and_sets_have_their_own_streams() -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    other = grey.copy()
    other[0, 0, 0] = 129

    noise = [
        corrupt(grey, "gaussian_noise", severity=5),
        corrupt(grey, "gaussian_noise", severity=5, seed=1),
        corrupt(other, "gaussian_noise", severity=5),
    ]

    assert len({result[1:].tobytes() for result in noise}) == 3
    assert len({corruption_task("jpeg", severity, parameters) for parameters, severity in CASES}) == 10


# The others change the kind of damage with severity, not only its strength.
MIXED = {"elastic_transform", "frost", "frost_procedural", "glass_blur", "pixelate", "saturate", "snow", "spatter"}
STRONGER = sorted(set(CORRUPTIONS) - MIXED)


@pytest.mark.parametrize("name", STRONGER)
@pytest.mark.parametrize("parameters", PARAMETER_SETS)
def test_every_severity_moves_the_image_further(
    name: str, parameters: ParameterSet, photograph: np.ndarray, frost_dir: Path
) -> None:
    corruption = find_corruption(name, frost_dir=frost_dir)

    distances = []
    for severity in SEVERITIES:
        rng = np.random.default_rng(0)
        draws = () if corruption.draw is None else corruption.draw(rng, photograph.shape, severity, parameters)
        corrupted = corruption.apply(photograph, draws, severity, parameters)
        distances.append(np.abs(corrupted.astype(int) - photograph).mean())

    assert distances == sorted(distances)
    assert distances[0] > 0


def test_the_means_over_imagenet_c_are_over_its_15_and_frost_without_photographs_is_none_of_them() -> None:
    assert len(IMAGENET_C) == 15
    assert len(EXTRA) == 4
    assert "frost_procedural" not in {**IMAGENET_C, **EXTRA}


def test_frost_needs_its_photographs_and_says_where_to_get_them(
    photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)

    with pytest.raises(UnsupportedError, match="--frost-dir"):
        corrupt(photograph, "frost", severity=1)
    assert "frost_procedural" in missing("frost")
    assert missing("frost_procedural") == ""


def test_a_folder_without_the_photographs_is_refused(photograph: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "frost1.png").write_bytes(b"no picture")

    with pytest.raises(InputError, match=r"frost1\.png"):
        corrupt(photograph, "frost", severity=1, frost_dir=tmp_path)


def test_frost_covers_images_larger_than_its_photographs(frost_dir: Path) -> None:
    image = np.zeros((300, 420, 3), np.uint8)

    assert corrupt(image, "frost", severity=5, frost_dir=frost_dir).any(axis=2).mean() > 0.98


def test_there_are_no_legacy_draws_for_what_was_never_published(photograph: np.ndarray) -> None:
    state = np.random.RandomState(0)

    with pytest.raises(InputError, match="frost_procedural"):
        legacy_draws("frost_procedural", state, photograph, 1, "imagenet-c")
