"""What every preset makes of three embedded photographs, as checksums: a change of any step or library shows here.

``python tests/inputs/test_golden_presets.py`` writes the file anew; nothing else does.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from robustmq_trt.assets import images_dir
from robustmq_trt.core.files import write_json
from robustmq_trt.inputs.catalog import PRESETS

GOLDEN = Path(__file__).parent / "golden" / "presets.json"
PHOTOGRAPHS = [images_dir("eval") / kind / "000.jpg" for kind in ("balloon", "boat", "car")]


def checksums(name: str) -> dict[str, str]:
    """The SHA-256 of the pixels at 64 x 64 and of the tensor."""
    pipeline = PRESETS[name].for_size(64, 64)
    pixels = np.stack([pipeline.load(path.read_bytes()) for path in PHOTOGRAPHS])
    tensor = pipeline.tensor(pixels)
    return {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in (("pixels", pixels), ("tensor", tensor))}


def test_every_preset_has_its_golden_checksums_and_no_other_has() -> None:
    assert set(json.loads(GOLDEN.read_text())) == set(PRESETS)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_make_the_same_pixels_and_tensors_as_ever(name: str) -> None:
    if PRESETS[name].resize == "opencv-cubic" and not cv2.ipp.useIPP():
        pytest.skip("needs an OpenCV with Intel's IPP, whose cubic rounds otherwise than OpenCV's own")
    assert checksums(name) == json.loads(GOLDEN.read_text())[name]


if __name__ == "__main__":
    write_json(GOLDEN, {name: checksums(name) for name in PRESETS})
