"""What ImageNet-C-bar's ten are by construction, beside the goldens of their authors' code."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from robustmq_trt.core.errors import InputError
from robustmq_trt.evaluate.corruptions import (
    blue_noise_sample,
    brownish_noise,
    caustic_refraction,
    checkerboard_cutout,
    cocentric_sine_waves,
    inverse_sparkles,
    perlin_noise,
    single_frequency_greyscale,
    sparkles,
)
from robustmq_trt.evaluate.corruptions.catalog import EXTRA, IMAGENET_C, IMAGENET_C_BAR
from robustmq_trt.evaluate.corruptions.legacy import legacy_draws
from robustmq_trt.evaluate.corruptions.parameters import SEVERITIES
from robustmq_trt.evaluate.corruptions.spectral import distances, draw_phases, field
from robustmq_trt.evaluate.corruptions.starlight import starlight

SIDE = 96


def grey(level: int = 128, shape: tuple[int, int, int] = (SIDE, SIDE, 3)) -> np.ndarray:
    return np.full(shape, level, np.uint8)


def test_the_second_family_is_ten_and_shares_nothing_with_the_first() -> None:
    assert len(IMAGENET_C_BAR) == 10
    assert not set(IMAGENET_C_BAR) & {*IMAGENET_C, *EXTRA}


@pytest.mark.parametrize("name", IMAGENET_C_BAR)
def test_one_draw_serves_every_severity(name: str) -> None:
    draw = IMAGENET_C_BAR[name].draw
    assert draw is not None

    drawn = [draw(np.random.default_rng(1), (30, 40, 3), severity, "imagenet-c") for severity in SEVERITIES]

    for others in drawn[1:]:
        for first, other in zip(drawn[0], others, strict=True):
            np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("name", IMAGENET_C_BAR)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 70, 3), (67, 1, 3), (33, 34, 3), (35, 33, 3)])
def test_any_shape_is_corrupted_into_its_own(name: str, shape: tuple[int, int, int]) -> None:
    corruption = IMAGENET_C_BAR[name]
    assert corruption.draw is not None

    for severity in SEVERITIES:
        draws = corruption.draw(np.random.default_rng(severity), shape, severity, "imagenet-c")
        assert corruption.apply(grey(shape=shape), draws, severity, "imagenet-c").shape == shape


def test_the_published_draws_are_of_squares() -> None:
    with pytest.raises(InputError, match=r"square image .* got \(4, 5, 3\)"):
        legacy_draws("sparkles", np.random.RandomState(0), grey(shape=(4, 5, 3)), 1, "imagenet-c")


def test_the_stripes_have_the_drawn_frequency() -> None:
    draws = (np.array([2 * np.pi * 12 / SIDE, -2 * np.pi * 7 / SIDE]), np.array([1.0]))

    striped = single_frequency_greyscale.apply(grey(), draws, 5, "imagenet-c")

    spectrum = np.abs(np.fft.fft2(striped[..., 0].astype(float) - 128))
    spectrum[0, 0] = 0  # truncation darkens by half a level
    assert {tuple(map(int, place)) for place in np.argwhere(spectrum > spectrum.max() / 2)} == {
        (SIDE - 7, 12),
        (7, SIDE - 12),
    }


def test_without_waves_the_rings_are_a_sawtooth_over_the_distance() -> None:
    draws = (np.array([0.0, 0.0]), np.array([1.0, 0.0, 10.0]))

    ringed = cocentric_sine_waves.apply(grey(), draws, 5, "imagenet-c")

    expected = np.floor(128 + 128 * ((np.arange(SIDE) % 10) / 10 - 0.5))
    np.testing.assert_array_equal(ringed[0, :, 0], expected)
    np.testing.assert_array_equal(ringed[:, 0, 2], expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_half_of_the_squares_are_cut_at_the_drawn_rate(severity: int) -> None:
    image, cut = grey(7), []

    for seed in range(60):
        draws = checkerboard_cutout.draw(np.random.default_rng(seed), image.shape, severity, "imagenet-c")
        cut.append((checkerboard_cutout.apply(image, draws, severity, "imagenet-c") == 128).mean())

    expected = checkerboard_cutout.LEVEL["imagenet-c"][severity - 1] / 10 / 2
    assert abs(np.mean(cut) - expected) < 4 * stats.sem(cut)


def test_fields_have_unit_deviation_and_the_spectrum_asked_for() -> None:
    shape = (SIDE, SIDE, 3)
    (left,), (middle,) = draw_phases(np.random.default_rng(0), shape, 1)

    blue = field(distances(shape), left, middle)

    assert blue.std() == pytest.approx(1)
    power = np.abs(np.fft.fftshift(np.fft.fft2(blue))) ** 2
    slow, fast = (power[(distances(shape) > low) & (distances(shape) < low + 8)].mean() for low in (4, 36))
    assert fast / slow == pytest.approx((40 / 8) ** 2, rel=0.25)


@pytest.mark.parametrize(("severity", "level"), [(1, 0.8), (5, 5.6)])
def test_pixels_are_lost_as_often_as_a_normal_number_is_below_the_threshold(severity: int, level: float) -> None:
    lost = []

    for seed in range(20):
        draws = blue_noise_sample.draw(np.random.default_rng(seed), (SIDE, SIDE, 3), severity, "imagenet-c")
        lost.append((blue_noise_sample.apply(grey(), draws, severity, "imagenet-c") == 0).mean())

    assert np.mean(lost) == pytest.approx(stats.norm.cdf(level * 0.3 - 2.5), rel=0.06)


def test_clouds_differ_between_channels_and_have_the_published_deviation() -> None:
    draws = brownish_noise.draw(np.random.default_rng(2), (SIDE, SIDE, 3), 1, "imagenet-c")

    clouded = brownish_noise.apply(grey(), draws, 1, "imagenet-c").astype(float)

    np.testing.assert_allclose(clouded.std(axis=(0, 1)), 6.4, rtol=0.02)
    assert abs(np.corrcoef(clouded.reshape(-1, 3).T)[np.triu_indices(3, 1)]).max() < 0.9


def test_turbulence_is_still_on_the_corners_of_its_coarsest_grid() -> None:
    image = grey(128, (224, 224, 3))
    draws = perlin_noise.draw(np.random.default_rng(3), image.shape, 5, "imagenet-c")

    clouded = perlin_noise.apply(image, draws, 5, "imagenet-c")

    assert set(clouded[::32, ::32].reshape(-1)) == {127}  # half of 255, truncated
    assert clouded.min() >= 127
    assert clouded.max() > 160


def test_a_direction_of_no_length_is_no_slope() -> None:
    _, scattering = perlin_noise.draw(np.random.default_rng(3), (SIDE, SIDE, 3), 5, "imagenet-c")

    clouded = perlin_noise.apply(grey(), (np.zeros((256, 2), int), scattering), 5, "imagenet-c")

    assert set(clouded.reshape(-1)) == {127}


def test_starlight_falls_with_the_square_of_the_distance_along_a_ray() -> None:
    light = starlight((1, 200, 3), (0.0, 0.0), np.full(60, 10.0), 1)[0]

    np.testing.assert_allclose(light[50:] / light[50], (50 / np.arange(50, 200)) ** 2, rtol=1e-6)
    assert light[0] == light[5] == 1


def test_sparkles_only_brighten_and_their_inverse_leaves_the_star_clear(photograph: np.ndarray) -> None:
    lit = sparkles.apply(
        photograph, sparkles.draw(np.random.default_rng(0), photograph.shape, 3, "imagenet-c"), 3, "imagenet-c"
    )
    draws = inverse_sparkles.draw(np.random.default_rng(0), photograph.shape, 3, "imagenet-c")
    veiled = inverse_sparkles.apply(photograph, draws, 3, "imagenet-c")

    assert (lit >= photograph).all()
    assert (veiled >= photograph).all()
    row, column = draws[0][0].astype(int)
    assert np.abs(veiled[row, column].astype(int) - photograph[row, column]).max() <= 1
    assert ((255 - veiled[0, 0]) <= (255 - photograph[0, 0]) / 3).all()


def test_slopes_bend_a_ray_by_snells_law() -> None:
    slopes = np.random.default_rng(0).normal(size=(50, 2))
    down, right = slopes[:, :1], slopes[:, 1:]

    factor = caustic_refraction._bend(down, right)

    for (first, second), found in zip(slopes, factor[:, 0], strict=True):
        normal = np.array([first, second, 1]) / np.linalg.norm([first, second, 1])
        way = found * np.array([first, second])
        ray = np.array([*way, np.sqrt(1 - way @ way)])
        assert np.linalg.norm(np.cross(ray, normal)) == pytest.approx(np.linalg.norm(normal[:2]) / 4)
    assert caustic_refraction._bend(np.full((1, 1), 1e-3), np.zeros((1, 1))) == 0


def test_what_lies_outside_the_picture_is_black_and_whole_shifts_copy() -> None:
    image = np.arange(1, 76, dtype=np.uint8).reshape(5, 5, 3)
    down, right = np.full((5, 5), 2.0), np.full((5, 5), -1.0)

    places = caustic_refraction._places(down, right)
    shifted = caustic_refraction._lit(image[..., 1].copy(), places, np.full((5, 5), 1e-6))

    expected = np.zeros((5, 5), np.uint8)
    expected[:3, 1:] = image[2:, :4, 1]
    np.testing.assert_array_equal(shifted, expected)
    far = caustic_refraction._lit(image[..., 1].copy(), caustic_refraction._places(down * 50, right), np.zeros((5, 5)))
    assert not far.any()
