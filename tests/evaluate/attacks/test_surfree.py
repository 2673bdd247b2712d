from collections.abc import Callable

import numpy as np
import pytest
import scipy.fft

from robustmq_trt.evaluate.attacks.protocol import AttackResult
from robustmq_trt.evaluate.attacks.reach import l2_squared
from robustmq_trt.evaluate.attacks.surfree import Circle, Directions, dct, inverse_dct, low_half


@pytest.mark.parametrize("shape", [(8, 5, 3), (7, 32, 3)])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_cosine_transform_is_scipys(rng: np.random.Generator, shape: tuple[int, ...], axis: int) -> None:
    values = rng.normal(size=shape)

    np.testing.assert_allclose(dct(values, axis), scipy.fft.dct(values, axis=axis), atol=1e-12)
    np.testing.assert_allclose(inverse_dct(values, axis), scipy.fft.idct(values, axis=axis), atol=1e-12)


def test_directions_have_length_one_and_stand_on_the_step_and_on_each_other(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (16, 12, 3)).astype(np.float32)
    directions = Directions(image, rng)
    step = rng.normal(size=image.shape).astype(np.float32)

    drawn = [directions.draw(step) for _ in range(8)]

    rows = np.stack([step / np.linalg.norm(step), *drawn]).reshape(9, -1)
    np.testing.assert_allclose(rows[1:] @ rows[0], 0, atol=1e-5)
    np.testing.assert_allclose((rows**2).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[1:] @ rows[1:].T, np.eye(8), atol=0.1)


def test_directions_have_no_high_frequencies(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (16, 16, 3)).astype(np.float32)

    drawn = Directions(image, rng).draw(np.zeros_like(image))

    spectrum = dct(dct(drawn, 0), 1)
    assert np.abs(spectrum[~low_half(16, 16)]).max() < 1e-5 * np.abs(spectrum).max()


def test_half_of_the_frequencies_are_low() -> None:
    marked = low_half(8, 6)

    assert marked.sum() == 24
    assert marked[0, 0]
    assert not marked[-1, -1]


@pytest.mark.parametrize("angle", [0.0, 0.3, -1.0])
def test_a_point_of_the_circle_is_nearer_by_the_cosine(rng: np.random.Generator, angle: float) -> None:
    original = np.full((6, 6, 3), 128, np.float32)
    step = rng.uniform(-9, 9, size=original.shape).astype(np.float32)
    circle = Circle(original, original + step, Directions(original, rng).draw(step))

    distance = np.linalg.norm(circle.at(angle) - original)

    assert distance == pytest.approx(np.cos(angle) * np.linalg.norm(step), rel=1e-4)


def test_surfree_comes_near_the_smallest_distance_to_a_plane(
    rng: np.random.Generator, against_plane: Callable[..., AttackResult]
) -> None:
    """Reference: the L2 distance to a hyperplane is its margin over the L2 norm of its weights."""
    image = rng.integers(80, 176, (8, 8, 3), dtype=np.uint8)
    weights = np.add.outer(np.arange(8), np.arange(8))[:, :, None] - 7.0 + np.zeros(3)
    smallest = 100.0
    bias = smallest * np.sqrt((weights**2).sum())

    result = against_plane("surfree", {"eps": 125, "queries": 1500}, image, weights=weights, bias=bias)

    assert result.success
    assert smallest <= l2_squared(result.adversarial, image) ** 0.5 <= 125


@pytest.mark.parametrize("colour", [(0, 0, 0), (77, 77, 77), (255, 0, 0)])
def test_a_flat_image_has_directions_too(rng: np.random.Generator, colour: tuple[int, int, int]) -> None:
    """A black image has no spectrum to draw from, and one of a single colour has three directions at most."""
    image = np.full((8, 8, 3), colour, np.float32)
    step = np.zeros_like(image)
    step[..., 0] = 1
    directions = Directions(image, rng)

    drawn = np.stack([directions.draw(step) for _ in range(12)]).reshape(12, -1)

    np.testing.assert_allclose((drawn**2).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(drawn @ step.ravel(), 0, atol=1e-4)
