"""From a PyTorch classifier to a float ONNX graph, checked against PyTorch on random images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..core.errors import InputError, UnsupportedError
from .onnx_file import check_model, one_line
from .parity import Floats, Parity, check_parity, compare, random_images, run_onnx
from .quiet import quiet_exporter
from .require import require
from .torch_source import load_source

OPSET = 18  # what torch's exporter writes without conversion; every runtime here reads it


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """An exported classifier.

    Attributes:
        model: Float ONNX model, input ``input`` (N, 3, H, W), output ``logits``; not yet prepared.
        parity: How closely it follows the PyTorch module.
    """

    model: onnx.ModelProto
    parity: Parity


def export_torch(source: str, *, size: tuple[int, int] | None = None, weights: Path | None = None) -> ExportedModel:
    """Export a PyTorch classifier to ONNX and check that both give the same scores.

    A source ``"module:callable"`` is imported and called: this runs the user's own code, found from the working
    folder. Name only code you would run yourself.

    Args:
        source: ``"module:callable"`` (a function or class that gives a `torch.nn.Module`), ``"torchvision:NAME"`` or
            ``"timm:NAME"``.
        size: Image height and width; None takes the library's own, and is refused for ``"module:callable"``.
        weights: State dict written by `torch.save`, loaded as data only.

    Returns:
        The model with a dynamic batch, and the parity on 16 random images.

    Raises:
        InputError: If the source, size or weights do not fit, or the module's answer depends on the rest of the batch.
        RefusedError: If the weights file would run code.
        UnsupportedError: If a package is missing, the export fails, or the graph's logits differ by more than 0.001 of
            the largest.
    """
    torch = require("torch", "Export from PyTorch")
    found = load_source(source, weights)
    size = size or found.size
    if size is None:
        raise InputError(f"The image size of '{source}' is unknown. Pass it, e.g. `--size 224`.")
    images = random_images(size)
    expected = _torch_scores(found.module, images, torch)
    model = _export(found.module, images[:2], torch)
    check_model(model)
    parity = compare(expected, run_onnx(model, images))
    check_parity(parity)
    return ExportedModel(model=model, parity=parity)


def _torch_scores(module: Any, images: Floats, torch: Any) -> Floats:
    """Run the module on all images at once and one by one: the answers have to agree."""
    together = _forward(module, images, torch)
    alone = np.concatenate([_forward(module, images[i : i + 1], torch) for i in range(4)])
    parity = compare(alone, together[:4])
    if parity.max_abs_difference > 1e-3 * parity.scale:
        raise InputError(
            f"The module's answer to an image depends on the rest of the batch or on chance (by "
            f"{parity.max_abs_difference:.3g}): a BatchNorm or Dropout is left in training mode. "
            "Fix the module's eval()."
        )
    return together


def _forward(module: Any, images: Floats, torch: Any) -> Floats:
    try:
        with torch.inference_mode():
            scores = module(torch.from_numpy(images))
    except Exception as error:  # the user's own code may raise anything
        text = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"The module does not take images of shape {images.shape}: {text}.") from error
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
        what = f"shape {tuple(scores.shape)}" if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise UnsupportedError(f"The module gives {what}, expected one tensor (N, classes). Wrap it accordingly.")
    return np.asarray(scores.float().numpy(), np.float32)


def _export(module: Any, images: Floats, torch: Any) -> onnx.ModelProto:
    """Export by tracing the program (dynamo); where that fails, by TorchScript."""
    example = torch.from_numpy(images)
    with quiet_exporter():
        try:
            return _export_dynamo(module, example, torch)
        except Exception as first:  # the exporters' errors share no public base class
            try:
                return _export_torchscript(module, example, torch)
            except Exception as second:
                text = f"{one_line(first)} / {one_line(second)}"
                raise UnsupportedError(f"PyTorch cannot export the module to ONNX: {text}.") from second


def _export_dynamo(module: Any, example: Any, torch: Any) -> onnx.ModelProto:
    require("onnxscript", "Export from PyTorch")
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        input_names=["input"],
        output_names=["logits"],
        verbose=False,
    )
    model: onnx.ModelProto = program.model_proto
    return model


def _export_torchscript(module: Any, example: Any, torch: Any) -> onnx.ModelProto:
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        (example,),
        buffer,
        dynamo=False,
        opset_version=OPSET,
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
        input_names=["input"],
        output_names=["logits"],
    )
    return onnx.load_model_from_string(buffer.getvalue())
