"""Reading a classifier's signature off a .tflite file; refuses what is none."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import UnsupportedError
from .litert_files import Source, Tensor
from .protocol import EngineSpec, InputType, OutputKind

EIGHT_BITS = ("int8", "uint8")
_SIGNED_SHIFT = 128  # int8 value + 128 is the uint8 value on the same grid
# What may stand between the operator that makes the scores and the output.
_PASSED_THROUGH = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE")


def read_spec(source: Source, path: Path) -> EngineSpec:
    """Read the signature of a classifier.

    An 8-bit input is handed out as ``uint8``, whichever sign the file gives it. An 8-bit output, also one that only a
    ``DEQUANTIZE`` makes float, is ``uint8-scores``.

    Raises:
        UnsupportedError: If there is not exactly one image input of fixed size and one row of scores.
    """
    if len(source.inputs) != 1 or len(source.outputs) != 1:
        raise UnsupportedError(
            f"Expected one input and one output in '{path}', got {len(source.inputs)} and {len(source.outputs)}. "
            "Export the classifier alone."
        )
    entry, exit_ = source.tensors[source.inputs[0]], source.tensors[source.outputs[0]]
    height, width, channels = _image(entry, path)
    batch = entry.shape[0]
    return EngineSpec(
        input_name=entry.name,
        height=height,
        width=width,
        channels=channels,
        layout="nhwc",
        dtype=_input_type(entry, path),
        fixed_batch=batch if batch is not None and batch > 1 else None,
        classes=_classes(exit_, path),
        output_kind=_output_kind(source),
        input_grid=_grid(entry),
    )


def quantization(tensor: Tensor) -> tuple[float, int]:
    """Give the step and the zero point of an 8-bit tensor in the file's own sign; (1.0, 0) where it states none."""
    if not tensor.scales:
        return 1.0, 0
    return tensor.scales[0], tensor.zero_points[0] if tensor.zero_points else 0


def _grid(entry: Tensor) -> tuple[float, int] | None:
    if entry.dtype not in EIGHT_BITS or not entry.scales:
        return None
    scale, zero_point = quantization(entry)
    return scale, zero_point + (_SIGNED_SHIFT if entry.dtype == "int8" else 0)


def _image(entry: Tensor, path: Path) -> tuple[int, int, int]:
    """Give height, width and channels; LiteRT's own convolutions know no other layout than (N, H, W, C)."""
    if len(entry.shape) == 4:
        _, height, width, channels = entry.shape
        if height and width and channels in (1, 3):
            return height, width, channels
    shown = ", ".join("?" if side is None else str(side) for side in entry.shape)
    raise UnsupportedError(
        f"Expected an image input (N, H, W, C) of fixed size with 1 or 3 channels in '{path}', got '{entry.name}' of "
        f"shape ({shown}). Convert the model with a fixed image size."
    )


def _input_type(entry: Tensor, path: Path) -> InputType:
    if entry.dtype == "float32":
        return "float32"
    if entry.dtype in EIGHT_BITS:
        return "uint8"
    raise UnsupportedError(
        f"Expected an input of float32, uint8 or int8 in '{path}', got {entry.dtype}. Convert it with one of them."
    )


def _classes(exit_: Tensor, path: Path) -> int:
    classes = exit_.shape[-1] if len(exit_.shape) >= 2 and set(exit_.shape[1:-1]) <= {1} else None
    if exit_.dtype not in ("float32", *EIGHT_BITS) or classes is None or classes < 2:
        raise UnsupportedError(
            f"Expected scores (N, classes) of float32, uint8 or int8 in '{path}', got '{exit_.name}' of {exit_.dtype} "
            f"{exit_.shape}. Only classifiers are supported."
        )
    return classes


def _output_kind(source: Source) -> OutputKind:
    index, makers = source.outputs[0], {out: op for op in source.operators for out in op.outputs}
    kinds = [source.tensors[index].dtype]
    while index in makers and makers[index].name in _PASSED_THROUGH and makers[index].inputs:
        index = makers[index].inputs[0]
        kinds.append(source.tensors[index].dtype)
    if any(kind in EIGHT_BITS for kind in kinds):
        return "uint8-scores"
    return "probabilities" if index in makers and makers[index].name == "SOFTMAX" else "logits"
