"""The emulated resizers beside what the libraries themselves gave for the same noise.

``golden/resizers.npz`` holds, per resizer and size, (height, width, 3) uint8 of TensorFlow 2.21.0 (`tf.image.resize`,
with ``antialias=True``, and `tf.compat.v1.image.resize`, with ``align_corners=True``; rounded to whole levels) and of
DALI 2.4.0 on a CPU (`fn.resize`; and ``crop``: `fn.resize(resize_shorter=..., subpixel_scale=False)` and `fn.crop`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.resize import RESIZERS, resize

GOLDEN = np.load(Path(__file__).parent / "golden" / "resizers.npz")
SIZED = [name for name in GOLDEN.files if not name.startswith("crop/")]
CROPPED = [name for name in GOLDEN.files if name.startswith("crop/")]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng((height, width)).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_every_emulation_is_checked_against_its_library() -> None:
    checked_elsewhere = {name for name in RESIZERS if name.startswith("torch-")}
    emulated = {name for name, resizer in RESIZERS.items() if resizer.emulates}

    assert {name.split("/")[0] for name in SIZED} == emulated - checked_elsewhere


@pytest.mark.parametrize("case", SIZED)
def test_an_emulation_is_within_one_level_on_few_values(case: str) -> None:
    resizer, size = case.split("/")
    rows, columns, height, width = (int(side) for side in size.split("x"))

    resized = resize(noise(rows, columns), height=height, width=width, resizer=resizer)

    difference = np.abs(resized.astype(int) - GOLDEN[case])
    assert difference.max() <= 1  # the libraries sum in float32, ours in float64: halves go either way
    assert (difference > 0).mean() <= 0.025


@pytest.mark.parametrize("case", CROPPED)
def test_the_dali_preset_rounds_sizes_and_offsets_as_dali_does(case: str) -> None:
    rows, columns, side = (int(number) for number in case.split("/")[1].split("x"))
    pipeline = replace(PRESETS["dali"].for_size(side, side), decoder="pillow")

    loaded = pipeline.load(noise(rows, columns))

    assert np.abs(loaded.astype(int) - GOLDEN[case]).max() <= 1
