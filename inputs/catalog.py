"""The presets by name, and the reader of preset files. Adding a preset is one more ``Pipeline`` in the tuple."""

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

_INCEPTION = (0.5, 0.5, 0.5)
"""As mean and deviation: x / 127.5 - 1."""

# Real libraries but for the resizers that say what they emulate; `turbo`, `ffmpeg` and `fir` need the extra `decoders`.
_LITERALS = (
    _TORCHVISION,
    # Within two levels of torchvision's path for Pillow images; `turbo` refuses files that Pillow reads with a warning.
    replace(_TORCHVISION, name="torchvision-fast", decoder="turbo", resize="fir-bilinear"),
    replace(_TORCHVISION, name="opencv-linear", decoder="opencv", resize="opencv-linear"),
    replace(_TORCHVISION, name="opencv-nearest", decoder="opencv", resize="opencv-nearest"),
    replace(_TORCHVISION, name="opencv-area", decoder="opencv", resize="opencv-area"),
    # Google's MobileNets: x / 127.5 - 1.
    replace(_TORCHVISION, name="tflite-mobilenet", mean=_INCEPTION, std=_INCEPTION),
    # Images are stored at the model's size: nothing is cut, and one of another size is squashed.
    replace(_TORCHVISION, name="cifar10", geometry="squash", crop_fraction=1.0, size=(32, 32)),
    replace(_TORCHVISION, name="timm", resize="pillow-bicubic"),
    replace(_TORCHVISION, name="timm-95", resize="pillow-bicubic", crop_fraction=0.95),
    # tf.io.decode_jpeg and tf.image.resize as they are called without options, Inception's crop and normalisation.
    replace(
        _TORCHVISION,
        name="tensorflow-default",
        decoder="turbo-fast-dct",
        resize="tf-bilinear",
        geometry="squash",
        mean=_INCEPTION,
        std=_INCEPTION,
    ),
    replace(_TORCHVISION, name="ffmpeg", decoder="ffmpeg", resize="ffmpeg-bicubic"),  # the program's own defaults
    # fn.decoders.image, fn.resize(resize_shorter=256, subpixel_scale=False), fn.crop_mirror_normalize(crop=224).
    replace(
        _TORCHVISION,
        name="dali",
        decoder="turbo-box",
        resize="dali-triangular",
        size_rounding="round",
        crop_rounding="ceil",
    ),
    # The ResNet-50 ensemble of Triton's DALI backend: fn.resize(resize_x=224, resize_y=224), nothing cut.
    replace(
        _TORCHVISION,
        name="triton-dali",
        decoder="turbo-box",
        resize="dali-triangular",
        geometry="squash",
        crop_fraction=1.0,
    ),
    # samples/python/introductory_parser_samples/onnx_resnet50.py of TensorRT.
    replace(
        _TORCHVISION,
        name="tensorrt-sample",
        resize="pillow-lanczos",
        geometry="squash",
        crop_fraction=1.0,
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
    ),
    replace(_TORCHVISION, name="camera-nv12", decoder="opencv", camera="nv12-bt601-limited", resize="opencv-linear"),
    # examples/python/label_image.py of TensorFlow Lite.
    replace(
        _TORCHVISION,
        name="tflite-label-image",
        resize="pillow-bicubic",
        geometry="squash",
        crop_fraction=1.0,
        mean=_INCEPTION,
        std=_INCEPTION,
    ),
    # Ultralytics' LetterBox before a classifier that takes whole frames.
    replace(
        _TORCHVISION,
        name="yolo-letterbox",
        decoder="opencv",
        resize="opencv-linear",
        geometry="letterbox-grey",
        crop_fraction=1.0,
        size_rounding="round",
        crop_rounding="ceil",
    ),
)

PRESETS: Mapping[str, Pipeline] = {**{preset.name: preset for preset in _LITERALS}, **ROBUSTMQ_GRID}
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
