"""Does an exported graph answer as the PyTorch module it came from? Seeded random images, compared score by score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..core.errors import InputError, UnsupportedError
from .onnx_file import one_line, serialize
from .require import require

TOLERANCE = 1e-3  # of the largest |logit|; float32 kernels of two libraries differ by 1e-6 to 1e-5
IMAGES = 16

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How closely an exported graph follows its source.

    Attributes:
        images: Number of random images compared.
        max_abs_difference: Largest |Δlogit| over all images and classes.
        scale: Largest |logit| of the source, which the tolerance is relative to.
        top1_agreement: Share of images with the same top class, in [0, 1].
    """

    images: int
    max_abs_difference: float
    scale: float
    top1_agreement: float


def random_images(size: tuple[int, int], *, seed: int = 0, count: int = IMAGES) -> Floats:
    """Draw images in the range normalised pixels have.

    Returns:
        (count, 3, height, width) float32, normal with mean 0 and deviation 1.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    return rng.standard_normal((count, 3, *size), dtype=np.float32)


def compare(expected: Floats, got: Floats) -> Parity:
    """Compare two sets of logits.

    Args:
        expected: (N, classes) float32 of the source.
        got: (N, classes) float32 of the exported graph.

    Returns:
        The figures; a value that is not finite makes the difference infinite.

    Raises:
        InputError: If the shapes differ.
    """
    if expected.shape != got.shape:
        raise InputError(f"The exported graph gives scores of shape {got.shape}, the source {expected.shape}.")
    finite = bool(np.isfinite(expected).all() and np.isfinite(got).all())
    return Parity(
        images=len(expected),
        max_abs_difference=float(np.abs(expected - got).max()) if finite else float("inf"),
        scale=float(np.abs(expected).max()) if finite else 1.0,
        top1_agreement=float(np.mean(expected.argmax(1) == got.argmax(1))),
    )


def check_parity(parity: Parity) -> None:
    """Refuse an export that answers differently.

    Raises:
        UnsupportedError: If a logit differs by more than 0.001 of the largest.
    """
    if parity.max_abs_difference > TOLERANCE * parity.scale:
        raise UnsupportedError(
            f"The exported graph differs from the PyTorch module: max |Δlogit| {parity.max_abs_difference:.3g} at "
            f"logits up to {parity.scale:.3g}, "
            f"same top class on {parity.top1_agreement:.0%} of {parity.images} images. "
            "The model does something ONNX has no operator for; export it by hand and pass the .onnx file."
        )


def run_onnx(model: onnx.ModelProto, images: Floats) -> Floats:
    """Run a float model with one input and one output on ONNX Runtime's CPU kernels.

    Raises:
        UnsupportedError: If onnxruntime is missing or cannot run the model.
    """
    runtime: Any = require("onnxruntime", "The parity check of an export")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(serialize(model), options, providers=["CPUExecutionProvider"])
        scores = session.run(None, {session.get_inputs()[0].name: images})[0]
    except Exception as error:  # onnxruntime's errors share no public base class
        raise UnsupportedError(f"ONNX Runtime cannot run the exported model: {one_line(error)}.") from error
    return np.asarray(scores, np.float32)
