"""What a plan says of itself: signature, batches, and whether it is for this GPU and version. Runs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.artifact import Card
from ..core.errors import InputError, RobustMQError, UnsupportedError
from .protocol import EngineSpec, InputType, OutputKind
from .tensorrt_module import Ready

_KINDS: tuple[OutputKind, ...] = ("logits", "probabilities")
_CHANNELS = (1, 3)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The batches of a plan's first optimization profile.

    Attributes:
        smallest: Fewer images are filled up.
        best: What the kernels were chosen for.
        largest: More images are cut.
    """

    smallest: int
    best: int
    largest: int


def check_card(card: Card | None, here: Ready, path: Path) -> None:
    """Hold the card of a plan against what is here, before TensorRT sees the plan.

    Raises:
        UnsupportedError: If the plan was built by another version or for another GPU.
    """
    built = {} if card is None else card.recipe
    version, gpu = built.get("tensorrt"), built.get("gpu")
    if version is None or not isinstance(gpu, dict):
        return
    if version != here.version or gpu.get("capability") != here.gpu.capability:
        raise UnsupportedError(
            f"'{path.name}' was built by TensorRT {version} for {gpu.get('name')} (compute capability "
            f"{gpu.get('capability')}); here is TensorRT {here.version} on {here.gpu.name} ({here.gpu.capability}). "
            f"{_rebuild(path)}"
        )


def unloadable(path: Path, here: Ready, reason: str) -> RobustMQError:
    """Build the error for a plan that TensorRT does not load."""
    return InputError(
        f"TensorRT {here.version} on {here.gpu.name} ({here.gpu.capability}) cannot load '{path.name}': {reason}. "
        f"A plan runs on the version and GPU it was built for. {_rebuild(path)}"
    )


def read_spec(trt: Any, engine: Any, path: Path, card: Card | None) -> EngineSpec:
    """Read the signature of a classifier.

    Args:
        trt: The module.
        engine: The deserialized engine.
        path: The file, for messages.
        card: Its card, which knows whether the scores are logits; None is taken for logits.

    Raises:
        UnsupportedError: If there is not exactly one image input and one row of scores.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
    if len(inputs) != 1 or len(outputs) != 1:
        raise UnsupportedError(f"Expected one input and one output in '{path}', got {len(inputs)} and {len(outputs)}.")
    shape = tuple(int(side) for side in engine.get_tensor_shape(inputs[0]))
    scores = tuple(int(side) for side in engine.get_tensor_shape(outputs[0]))
    if len(scores) != 2 or scores[1] < 2 or engine.get_tensor_dtype(outputs[0]) != trt.DataType.FLOAT:
        raise UnsupportedError(f"Expected scores (N, classes) of float32 in '{path}', got {scores}.")
    if len(shape) != 4 or min(shape[1:]) < 1 or not {shape[1], shape[3]} & set(_CHANNELS):
        raise UnsupportedError(f"Expected an image input of fixed size in '{path}', got {shape}.")
    first = shape[1] in _CHANNELS
    height, width, channels = (shape[2], shape[3], shape[1]) if first else (shape[1], shape[2], shape[3])
    return EngineSpec(
        input_name=inputs[0],
        height=height,
        width=width,
        channels=channels,
        layout="nchw" if first else "nhwc",
        dtype=_input_type(trt, engine.get_tensor_dtype(inputs[0]), path),
        fixed_batch=shape[0] if shape[0] > 0 else None,
        classes=scores[1],
        output_kind=_output_kind(card),
    )


def read_limits(engine: Any, spec: EngineSpec) -> Limits:
    """Read the batches the plan was built for."""
    if spec.fixed_batch is not None:
        return Limits(smallest=spec.fixed_batch, best=spec.fixed_batch, largest=spec.fixed_batch)
    shapes = engine.get_tensor_profile_shape(spec.input_name, 0)
    smallest, best, largest = (int(next(iter(shape))) for shape in shapes)
    return Limits(smallest=smallest, best=best, largest=largest)


def _input_type(trt: Any, dtype: Any, path: Path) -> InputType:
    if dtype == trt.DataType.FLOAT:
        return "float32"
    if dtype == trt.DataType.UINT8:
        return "uint8"
    raise UnsupportedError(
        f"Expected an input of float32 or uint8 in '{path}', got {dtype}. Build it with one of them."
    )


def _output_kind(card: Card | None) -> OutputKind:
    named = None if card is None else card.recipe.get("output_kind")
    return next((kind for kind in _KINDS if kind == named), "logits")


def _rebuild(path: Path) -> str:
    return f"Rebuild it here: robustmq-trt plan MODEL.onnx -o {path.name}"
