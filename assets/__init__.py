"""The embedded classifiers and their images, so that everything runs offline; ``tools/embedded`` makes them."""

from pathlib import Path
from typing import Literal

ModelName = Literal["cnn", "vit"]

MODELS: dict[ModelName, str] = {
    "cnn": "residual network of 8 convolutions",
    "vit": "vision transformer of 2 blocks on 64 tokens",
}
"""The embedded classifiers' names with what they are."""
_HERE = Path(__file__).resolve().parent
_FILES: dict[ModelName, str] = {"cnn": "model.onnx", "vit": "vit.onnx"}


def model_path(name: ModelName = "cnn") -> Path:
    """Return an embedded float classifier.

    Args:
        name: One of ``MODELS``.

    Returns:
        An ONNX file: ``input`` (N, 3, 64, 64) float32, normalised with the ImageNet mean and deviation, to
        ``logits`` (N, 10) float32 in the order of ``class_names()``. The batch is free.

    Example:
        >>> model_path("vit").name
        'vit.onnx'
    """
    return _HERE / _FILES[name]


def images_dir(split: Literal["calib", "eval"]) -> Path:
    """Return the folder of one embedded image set, with one sub-folder of JPEG files per class.

    Args:
        split: ``calib`` for the 100 calibration images, ``eval`` for the 200 evaluation images. The two are
            disjoint, and so is what the model was trained on.

    Example:
        >>> len(list(images_dir("eval").glob("*/*.jpg")))
        200
    """
    return _HERE / "images" / split


def class_names() -> tuple[str, ...]:
    """Return the ten class names in label order, which is also the alphabetical order of the folders.

    Example:
        >>> class_names()[:3]
        ('balloon', 'boat', 'car')
    """
    return tuple((_HERE / "classes.txt").read_text(encoding="utf-8").split())
