"""The package imagecorruptions, where it is installed, beside ours with the same random numbers."""

import importlib
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from robustmq_trt.evaluate.corruptions.catalog import CORRUPTIONS
from robustmq_trt.evaluate.corruptions.legacy import legacy_draws
from robustmq_trt.evaluate.corruptions.parameters import SEVERITIES

# Not here: elastic_transform, frost and snow are other corruptions there, impulse_noise cannot be seeded.
TOLERANCES = {
    "gaussian_noise": 0.0,
    "shot_noise": 0.0,
    "speckle_noise": 0.0,
    "defocus_blur": 0.0,
    "motion_blur": 0.05,  # floats there, 8 bits in what ImageNet-C was made with
    "zoom_blur": 0.015,
    "brightness": 0.035,
    "contrast": 0.0,
    "pixelate": 0.0,
    "jpeg": 0.0,
    "spatter": 0.002,
    "saturate": 0.08,
}
THEIR_NAMES = {"jpeg": "jpeg_compression"}

Reference = Callable[[np.ndarray, str, int], np.ndarray]


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reference]:
    """Run imagecorruptions 1.1.2 after seeding, with stand-ins for two modules that were removed since."""
    if importlib.util.find_spec("imagecorruptions") is None:
        pytest.skip("imagecorruptions is not installed: pip install imagecorruptions==1.1.2")
    monkeypatch.setitem(
        sys.modules,
        "scipy.ndimage.interpolation",
        types.SimpleNamespace(map_coordinates=ndimage.map_coordinates),
    )
    monkeypatch.setitem(
        sys.modules, "pkg_resources", types.SimpleNamespace(resource_filename=lambda package, name: name)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        published = importlib.import_module("imagecorruptions")

        def run(image: np.ndarray, name: str, severity: int) -> np.ndarray:
            np.random.seed(severity)  # noqa: NPY002 - what the package draws from
            corrupted: np.ndarray = published.corrupt(
                image, severity=severity, corruption_name=THEIR_NAMES.get(name, name)
            )
            return corrupted

        yield run


@pytest.mark.parametrize("name", TOLERANCES)
def test_imagecorruptions_gives_the_same_image(
    name: str, reference: Reference, synthetic_images: dict[str, np.ndarray], frost_dir: Path
) -> None:
    image = synthetic_images["imagenet-c"]

    for severity in SEVERITIES:
        expected = reference(image, name, severity)
        state = np.random.RandomState(severity)
        draws = legacy_draws(name, state, image, severity, "imagenet-c")
        difference = np.abs(CORRUPTIONS[name].apply(image, draws, severity, "imagenet-c").astype(int) - expected)

        assert difference.max() <= (TOLERANCES[name] > 0), severity
        assert (difference > 0).mean() <= TOLERANCES[name], severity
