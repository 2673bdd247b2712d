"""What every test may ask for: the real data, and a seeded generator."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder with the real images and models (`models/`, `data/`)."""
    folder = os.environ.get("ROBUSTMQ_DATA")
    if not folder:
        pytest.skip("needs the real images and models: set ROBUSTMQ_DATA to their folder")
    path = Path(folder).resolve()
    if not (path / "models").is_dir():
        pytest.skip(f"ROBUSTMQ_DATA is '{folder}', which has no folder 'models'")
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
