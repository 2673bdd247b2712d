"""Pictures made of arithmetic, loaded by path: tests are no package."""

import importlib.util
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest


def _synthetic() -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic", Path(__file__).with_name("synthetic.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic_images() -> dict[str, np.ndarray]:
    """The image that each parameter set's goldens were made from."""
    made = _synthetic()
    return {"imagenet-c": made.synthetic_image(224), "cifar10-c": made.synthetic_image(32)}


@pytest.fixture(scope="session")
def frost_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures under the names of the photographs of frost."""
    folder: Path = tmp_path_factory.mktemp("frost")
    _synthetic().write_frost(folder)
    return folder


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """Smooth colours with texture, flat patches, black and white: (61, 83, 3) uint8."""
    rng = np.random.default_rng(4)
    image = cv2.resize(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8), (83, 61), interpolation=cv2.INTER_CUBIC)
    image = cv2.add(image, rng.integers(0, 20, image.shape, dtype=np.uint8))
    image[5:20, 5:25] = (200, 120, 40)
    image[30:40, 5:15] = 0
    image[30:40, 15:25] = 255
    image.setflags(write=False)
    return image
