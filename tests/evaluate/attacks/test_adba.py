from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad

from robustmq_trt.evaluate.attacks.adba import halves, median_radius
from robustmq_trt.evaluate.attacks.protocol import AttackResult

SHAPE = 4, 4, 3


def density(radius: float) -> float:
    """The curve that the authors fitted, by their digits."""
    share = 1 - radius
    return 0.03133292769944518 / (share + 0.13403850261898806) ** 3.0659694403842903 + 0.16755646970211466


@pytest.mark.parametrize(("low", "high"), [(0.0, 60.0), (30.0, 60.0), (0.0, 31.0), (12.0, 16.0)])
def test_the_median_radius_halves_the_mass_of_the_authors_density(low: float, high: float) -> None:
    """Reference: scipy's quadrature of the density over radii as shares of the widest one."""
    middle = median_radius(low, high, 60.0)

    below, _ = quad(density, low / 60, middle / 60)
    whole, _ = quad(density, low / 60, high / 60)
    assert below / whole == pytest.approx(0.5, abs=0.01)


def test_halves_come_in_pairs_down_to_single_values_and_begin_again() -> None:
    found = halves(5)

    pairs = [[(part.start, part.stop) for part in next(found)] for _ in range(8)]

    assert pairs == [
        [(0, 3), (3, 5)],
        [(0, 2), (2, 3)],
        [(3, 4), (4, 5)],
        [(0, 1), (1, 2)],
        [(2, 3)],
        [(3, 4)],
        [(4, 5)],
        [(0, 3), (3, 5)],
    ]


def test_adba_comes_near_the_smallest_radius_of_a_linear_classifier(
    rng: np.random.Generator, against_plane: Callable[..., AttackResult]
) -> None:
    """Reference: the L-inf distance to a hyperplane is its margin over the L1 norm of its weights."""
    image = np.full(SHAPE, 128, np.uint8)
    weights = rng.normal(size=SHAPE)
    bias = 20 * np.abs(weights).sum()

    result = against_plane("adba", {"eps": 22, "queries": 700}, image, weights=weights, bias=bias)

    assert result.success
    assert 20 <= result.linf <= 22
