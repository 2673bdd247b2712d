"""The presets by name, and the reader of preset files. Adding a preset is one more ``Pipeline`` in the table."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError, unknown
from .pipeline import Pipeline
from .systematic_grid import ROBUSTMQ_GRID

_TORCHVISION = Pipeline(
    name="torchvision",
    decoder="pillow",
    colour="rgb",
    resize="pillow-bilinear",
    geometry="short-side-crop",
    crop_fraction=0.875,
    size=(224, 224),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

PRESETS: Mapping[str, Pipeline] = {
    "torchvision": _TORCHVISION,
    "opencv-linear": replace(_TORCHVISION, name="opencv-linear", decoder="opencv", resize="opencv-linear"),
    "opencv-nearest": replace(_TORCHVISION, name="opencv-nearest", decoder="opencv", resize="opencv-nearest"),
    "opencv-area": replace(_TORCHVISION, name="opencv-area", decoder="opencv", resize="opencv-area"),
    # Google's MobileNets: x / 127.5 - 1.
    "tflite-mobilenet": replace(_TORCHVISION, name="tflite-mobilenet", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    # Images are stored at the model's size: nothing is cut, and one of another size is squashed.
    "cifar10": replace(_TORCHVISION, name="cifar10", geometry="squash", crop_fraction=1.0, size=(32, 32)),
    **ROBUSTMQ_GRID,
}
"""Preset name to pipeline, at the size it is usually run; ``Pipeline.for_size`` fits it to a model."""


def find_preset(name: str | Path) -> Pipeline:
    """Give the preset of that name, or read one from a TOML file.

    A file holds the attributes of ``Pipeline`` as top-level entries; with ``base = "torchvision"`` it names only what
    differs. Its name is the file's stem unless it says otherwise.

    Args:
        name: A name of ``PRESETS``, or a path ending in ``.toml``.

    Raises:
        InputError: If no such preset or file exists, or the file holds something else than a preset.
    """
    name = str(name)
    if name in PRESETS:
        return PRESETS[name]
    if not name.lower().endswith(".toml"):
        raise unknown("preset", name, PRESETS)
    path = Path(name)
    values = {"name": path.stem, **_read(path)}
    base = values.pop("base", None)
    try:
        return Pipeline.from_mapping(values if base is None else {**_base(base).to_json(), **values})
    except InputError as error:
        raise InputError(f"Preset file '{path}': {error}") from error


def _base(name: Any) -> Pipeline:
    if name not in PRESETS:
        raise unknown("base preset", str(name), PRESETS)
    return PRESETS[name]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"Preset file '{path}' does not exist. Check the path.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"Preset file '{path}' is not readable as TOML: {error}. Correct the file.") from error
