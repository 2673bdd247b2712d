"""Reading a classifier's signature off an OpenVINO model; refuses what is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import UnsupportedError
from .protocol import EngineSpec, InputType, Layout, OutputKind

_INPUT_TYPES: Mapping[str, InputType] = {"f32": "float32", "f16": "float16", "u8": "uint8"}
_OUTPUT_TYPES = ("f32", "f16", "u8")
# What may stand between the operator that makes the scores and the output.
_PASSED_THROUGH = frozenset(
    ("Convert", "FakeQuantize", "Multiply", "Reshape", "Result", "Squeeze", "Subtract", "Unsqueeze")
)
_CHANNELS = (1, 3)


def read_spec(model: Any, path: Path) -> EngineSpec:
    """Read the signature of a classifier.

    Args:
        model: An ``openvino.Model``.
        path: Its file, for messages.

    Raises:
        UnsupportedError: If there is not exactly one image input of fixed size and one row of scores.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UnsupportedError(
            f"Expected one input and one output in '{path}', got {len(model.inputs)} and {len(model.outputs)}. "
            "Export the classifier alone."
        )
    entry, exit_ = model.inputs[0], model.outputs[0]
    batch, *sides = _sides(entry)
    layout, height, width, channels = _image(_name(entry), [batch, *sides], path)
    return EngineSpec(
        input_name=_name(entry),
        height=height,
        width=width,
        channels=channels,
        layout=layout,
        dtype=_input_type(entry, path),
        fixed_batch=batch,
        classes=_classes(exit_, path),
        output_kind="uint8-scores" if _type(exit_) == "u8" else _output_kind(model),
    )


def _sides(port: Any) -> list[int | None]:
    """Give a tensor's shape, None for each side that is not fixed."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return [None]
    return [side.get_length() if side.is_static else None for side in shape]


def _image(name: str, sides: list[int | None], path: Path) -> tuple[Layout, int, int, int]:
    fixed = [side for side in sides[1:] if side]
    if len(sides) == 4 and len(fixed) == 3:
        first, second, third = fixed
        if first in _CHANNELS:
            return "nchw", second, third, first
        if third in _CHANNELS:
            return "nhwc", first, second, third
    raise UnsupportedError(
        f"Expected an image input (N, C, H, W) or (N, H, W, C) of fixed size with 1 or 3 channels in '{path}', "
        f"got '{name}' of shape {_shown(sides)}. Export the model with a fixed image size."
    )


def _input_type(entry: Any, path: Path) -> InputType:
    kind = _INPUT_TYPES.get(_type(entry))
    if kind is None:
        raise UnsupportedError(
            f"Expected an input of float32, float16 or uint8 in '{path}', got {_type(entry)}. "
            "Export the model with one of them."
        )
    return kind


def _classes(exit_: Any, path: Path) -> int:
    sides = _sides(exit_)
    classes = sides[1] if len(sides) == 2 else None
    if _type(exit_) not in _OUTPUT_TYPES or classes is None or classes < 2:
        raise UnsupportedError(
            f"Expected scores (N, classes) of float32 or float16 in '{path}', got '{_name(exit_)}' of {_type(exit_)} "
            f"{_shown(sides)}. Only classifiers are supported."
        )
    return classes


def _output_kind(model: Any) -> OutputKind:
    """Tell probabilities from logits by the operator that makes the output."""
    node = model.get_results()[0]
    while node.get_type_name() in _PASSED_THROUGH and node.get_input_size():
        node = node.input_value(0).get_node()
    return "probabilities" if node.get_type_name() == "Softmax" else "logits"


def _type(port: Any) -> str:
    return str(port.get_element_type().get_type_name())


def _name(port: Any) -> str:
    return str(port.get_any_name() if port.get_names() else port.get_node().get_friendly_name())


def _shown(sides: list[int | None]) -> str:
    return "(" + ", ".join("?" if side is None else str(side) for side in sides) + ")"
