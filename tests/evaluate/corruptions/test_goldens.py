"""Every corruption, severity and parameter set against what the published code gave for the same random numbers.

How goldens.npz was made: the code of ImageNet-C (hendrycks/robustness, commit 8190fe3: the functions of its package
``imagenet_c``, and those of ``make_cifar_c.py`` for CIFAR-10-C) was run with NumPy 2.4.6, OpenCV 5.0.0, SciPy 1.17.1,
scikit-image 0.26.0, Pillow 13.0.0 and ImageMagick 6.9.11 Q16, names that today's releases no longer carry supplied
from outside, impulse noise drawing from the legacy generator as it did when the code was written, and the pictures of
synthetic.py in the place of the photographs of frost. ``np.random.seed(severity)`` came before each call. The image is
``synthetic_image(224)`` or ``synthetic_image(32)``, whose flat patches, stripes and speckle are harder on truncation
than photographs are. Kept are the SHA-256 of each result and its values at 600 places, the first of
``np.random.RandomState(0).permutation(image.size)``.

goldens_c_bar.npz: the same of ImageNet-C-bar, by its code (facebookresearch/augmentation-corruption, commit ba4d5a5:
the folder ``imagenet_c_bar``) with NumPy 2.4.6 and SciPy 1.17.1, the level being the one that ``LEVEL`` of each file
gives for the severity.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from robustmq_trt.evaluate.corruptions.catalog import CORRUPTIONS
from robustmq_trt.evaluate.corruptions.legacy import legacy_draws
from robustmq_trt.evaluate.corruptions.parameters import PARAMETER_SETS, SEVERITIES, ParameterSet

EQUAL = (0, 0.0)
TOLERANCES: dict[str, tuple[int, float]] = {
    "gaussian_noise": EQUAL,
    "shot_noise": EQUAL,
    "impulse_noise": EQUAL,
    "defocus_blur": EQUAL,
    "glass_blur": (2, 0.03),  # flat patches: the order of summation decides what is truncated
    "motion_blur": (1, 0.002),
    "zoom_blur": (1, 0.015),  # flat patches, at 32 pixels
    "snow": (1, 0.01),
    "frost": EQUAL,
    "fog": (1, 0.002),
    "brightness": (1, 0.035),  # exact results are whole levels, the reference's rounding error decides
    "contrast": EQUAL,
    "elastic_transform": (1, 0.002),
    "pixelate": EQUAL,
    "jpeg": EQUAL,
    "speckle_noise": EQUAL,
    "gaussian_blur": (1, 0.02),  # flat patches
    "spatter": (1, 0.002),
    "saturate": (1, 0.08),  # as brightness
    "blue_noise_sample": EQUAL,
    "plasma_noise": EQUAL,
    "checkerboard_cutout": EQUAL,
    "cocentric_sine_waves": EQUAL,
    "single_frequency_greyscale": EQUAL,
    "brownish_noise": EQUAL,
    "perlin_noise": EQUAL,
    "sparkles": (1, 0.002),  # float32 between the stars there
    "inverse_sparkles": EQUAL,
    "caustic_refraction": EQUAL,
}
"""Largest difference in levels and largest share of values that differ; of photographs, see the benchmark's results."""


@pytest.fixture(scope="module")
def goldens() -> dict[str, dict[str, np.ndarray]]:
    """Corruption name to ``values`` and ``sha256`` of each parameter set."""
    found = {}
    for file in ("goldens.npz", "goldens_c_bar.npz"):
        with np.load(Path(__file__).parent / file) as arrays:
            kept = {key: arrays[key] for key in arrays if key != "names"}
            found |= {str(name): {k: v[row] for k, v in kept.items()} for row, name in enumerate(arrays["names"])}
    return found


def test_every_published_corruption_has_a_golden(goldens: dict[str, dict[str, np.ndarray]]) -> None:
    assert set(goldens) == set(TOLERANCES) == set(CORRUPTIONS) - {"frost_procedural"}


@pytest.mark.parametrize("name", TOLERANCES)
@pytest.mark.parametrize("parameters", PARAMETER_SETS)
def test_the_published_code_gave_the_same_image(
    name: str,
    parameters: ParameterSet,
    synthetic_images: dict[str, np.ndarray],
    frost_dir: Path,
    goldens: dict[str, dict[str, np.ndarray]],
) -> None:
    image = synthetic_images[parameters]
    places = np.random.RandomState(0).permutation(image.size)[:600]
    values, digests = goldens[name][f"values {parameters}"], goldens[name][f"sha256 {parameters}"]
    largest, share = TOLERANCES[name]

    for severity in SEVERITIES:
        state = np.random.RandomState(severity)
        draws = legacy_draws(name, state, image, severity, parameters, frost_dir=frost_dir)
        corrupted = CORRUPTIONS[name].apply(image, draws, severity, parameters)

        difference = np.abs(corrupted.reshape(-1)[places].astype(int) - values[severity - 1])
        assert difference.max() <= largest, severity
        assert (difference > 0).mean() <= share, severity
        if not share:
            assert hashlib.sha256(corrupted.tobytes()).digest() == digests[severity - 1].tobytes(), severity
