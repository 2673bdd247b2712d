from collections.abc import Callable

import numpy as np
import pytest

from robustmq_trt.evaluate.attacks.prgf import best_lean, leaning, unit
from robustmq_trt.evaluate.attacks.protocol import AttackResult


def loss(lean: float, cosine: float, size: int, probes: int) -> float:
    """Squared error of the best multiple of the estimate: theorem 1 of the paper, by its covariance matrix."""
    prior = np.zeros(size)
    prior[0] = 1
    gradient = np.zeros(size)
    gradient[:2] = cosine, (1 - cosine**2) ** 0.5
    along = np.outer(prior, prior)
    covariance = lean * along + (1 - lean) / (size - 1) * (np.eye(size) - along)
    once, twice = gradient @ covariance @ gradient, gradient @ covariance @ covariance @ gradient
    return float(1 - once**2 / ((1 - 1 / probes) * twice + once / probes))


@pytest.mark.parametrize("cosine", [0.05, 0.2, -0.3, 0.35, 0.5, 0.9])
def test_the_lean_makes_the_estimate_as_good_as_it_can_be(cosine: float) -> None:
    """Reference: a search over all shares."""
    size, probes = 60, 6
    shares = np.linspace(0, 1, 2001)

    best = shares[np.argmin([loss(share, cosine, size, probes) for share in shares])]

    assert best_lean(cosine, size, probes) == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("lean", [0.0, 0.3, 1.0])
def test_a_leaning_probe_has_its_share_along_the_prior(rng: np.random.Generator, lean: float) -> None:
    prior, random = (unit(rng.normal(size=(30, 30, 3)).astype(np.float32)) for _ in range(2))

    probe = leaning(random, prior, lean)

    assert (probe**2).mean() == pytest.approx(1, abs=1e-3)
    if lean:
        assert (probe * prior).mean() ** 2 == pytest.approx(lean, abs=1e-3)


def test_a_good_prior_saves_most_queries(rng: np.random.Generator, against_plane: Callable[..., AttackResult]) -> None:
    image = rng.integers(60, 196, (16, 16, 3), dtype=np.uint8)
    weights = rng.normal(size=image.shape)
    bias = 14 * np.abs(weights).sum()
    start = np.clip(image - 2 * np.sign(weights) * (rng.random(image.shape) < 0.9), 0, 255).astype(np.uint8)
    settings = {"eps": 16, "queries": 2000}

    led, alone = (
        against_plane("prgf", settings, image, weights=weights, bias=bias, start=begin) for begin in (start, None)
    )

    assert led.queries < alone.queries / 4
