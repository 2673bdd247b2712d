"""The embedded classifier and its images, so that everything runs offline; ``tools/embedded`` makes them."""

from pathlib import Path
from typing import Literal

_HERE = Path(__file__).resolve().parent


def model_path() -> Path:
    """Return the embedded float classifier.

    Returns:
        An ONNX file: ``input`` (N, 3, 64, 64) float32, normalised with the ImageNet mean and deviation, to
        ``logits`` (N, 10) float32 in the order of ``class_names()``. The batch is free.

    Example:
        >>> model_path().name
        'model.onnx'
    """
    return _HERE / "model.onnx"


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
