"""What a server says about itself and one of its models, checked and turned into an engine's signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import UnsupportedError
from .protocol import EngineSpec, InputType, Layout, OutputKind

BINARY = "binary_tensor_data"
STATISTICS = "statistics"
_CONFIGURATION = "model_configuration"
_CHANNELS = (1, 3)
_INPUT_TYPES: Mapping[str, InputType] = {"FP32": "float32", "UINT8": "uint8"}
OUTPUT_TYPES = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "UINT8": "u1"}
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One tensor of a model's signature.

    Attributes:
        name: Its name.
        datatype: Its type in the protocol's words, e.g. ``FP32``.
        shape: Its sides; -1 where any is allowed.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ServerModel:
    """What the server says.

    Attributes:
        server: The server's name.
        server_version: The server's version.
        extensions: The protocol extensions it has.
        name: The model's name.
        versions: The versions of the model that it holds.
        platform: What it says runs the model, e.g. ``onnxruntime_onnx``; a declaration, no proof.
        entry: The one input.
        exit: The one output.
        max_batch: Most images in one request where the server tells, else None.
    """

    server: str
    server_version: str
    extensions: tuple[str, ...]
    name: str
    versions: tuple[str, ...]
    platform: str
    entry: TensorInfo
    exit: TensorInfo
    max_batch: int | None

    @property
    def binary(self) -> bool:
        """Whether tensors may travel as bytes instead of JSON."""
        return BINARY in self.extensions

    def to_json(self) -> dict[str, Any]:
        """Give what identifies the model as JSON data."""
        return {
            "model": self.name,
            "versions": list(self.versions),
            "platform": self.platform,
            "input": [self.entry.name, self.entry.datatype, list(self.entry.shape)],
            "output": [self.exit.name, self.exit.datatype, list(self.exit.shape)],
        }


def has_configuration(server: Mapping[str, Any]) -> bool:
    """Tell whether the server offers models' configurations, which name the largest batch."""
    return _CONFIGURATION in _strings(server.get("extensions"))


def read_model(
    server: Mapping[str, Any], model: Mapping[str, Any], configuration: Mapping[str, Any], *, where: str
) -> ServerModel:
    """Read the three documents of a server.

    Args:
        server: Reply to ``GET /v2``.
        model: Reply to ``GET /v2/models/MODEL``.
        configuration: Reply to ``GET /v2/models/MODEL/config``; empty where the server has none.
        where: The target, for messages.

    Raises:
        UnsupportedError: If they do not describe a model with one input and one output.
    """
    limit = configuration.get("max_batch_size")
    return ServerModel(
        server=_text(server.get("name"), "unnamed"),
        server_version=_text(server.get("version"), "unknown"),
        extensions=_strings(server.get("extensions")),
        name=_text(model.get("name"), ""),
        versions=_strings(model.get("versions")),
        platform=_text(model.get("platform"), ""),
        entry=_single(model.get("inputs"), "input", where),
        exit=_single(model.get("outputs"), "output", where),
        max_batch=limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None,
    )


def read_spec(model: ServerModel, *, classes: int | None, output_kind: OutputKind, where: str) -> EngineSpec:
    """Give the signature of a classifier.

    Args:
        model: What the server says.
        classes: Scores per image as a reply showed; None before the first one.
        output_kind: What a score is.
        where: The target, for messages.

    Raises:
        UnsupportedError: If the model takes no images of fixed size, or gives no row of scores.
    """
    layout, height, width, channels = _image(model.entry, where)
    dtype = _INPUT_TYPES.get(model.entry.datatype)
    if dtype is None:
        raise UnsupportedError(
            f"Expected an input of FP32 or UINT8 at {where}, got '{model.entry.name}' of {model.entry.datatype}. "
            "Serve the model with one of them."
        )
    return EngineSpec(
        input_name=model.entry.name,
        height=height,
        width=width,
        channels=channels,
        layout=layout,
        dtype=dtype,
        fixed_batch=model.entry.shape[0] if model.entry.shape[0] > 0 else None,
        classes=classes or declared_classes(model.exit, where) or 0,
        output_kind="uint8-scores" if model.exit.datatype == "UINT8" else output_kind,
    )


def declared_classes(exit_: TensorInfo, where: str) -> int | None:
    """Give the number of scores per image that the metadata names, or None where it leaves it open.

    Raises:
        UnsupportedError: If the output is no row of scores.
    """
    shape = exit_.shape
    if exit_.datatype not in OUTPUT_TYPES or len(shape) != 2 or not (shape[1] == -1 or 2 <= shape[1] <= _MOST_CLASSES):
        raise UnsupportedError(
            f"Expected scores (N, classes) of FP32, FP16, FP64 or UINT8 at {where}, got '{exit_.name}' of "
            f"{exit_.datatype} {list(shape)}. Only classifiers are supported."
        )
    return None if shape[1] == -1 else shape[1]


def _image(entry: TensorInfo, where: str) -> tuple[Layout, int, int, int]:
    shape = entry.shape
    fixed = len(shape) == 4 and all(side > 0 for side in shape[1:]) and (shape[0] == -1 or shape[0] > 0)
    if fixed and shape[1] in _CHANNELS:
        return "nchw", shape[2], shape[3], shape[1]
    if fixed and shape[3] in _CHANNELS:
        return "nhwc", shape[1], shape[2], shape[3]
    raise UnsupportedError(
        f"Expected an image input (N, C, H, W) or (N, H, W, C) of fixed size with 1 or 3 channels at {where}, "
        f"got '{entry.name}' of shape {list(shape)}. Declare the sides in the server's model configuration."
    )


def _single(tensors: Any, kind: str, where: str) -> TensorInfo:
    found = [_tensor(entry) for entry in tensors] if isinstance(tensors, list) else []
    if len(found) != 1:
        raise UnsupportedError(
            f"Expected the metadata at {where} to name one {kind}, got {len(found)}. Serve the classifier alone, and "
            "declare its input and output in the server's model configuration (in KServe's Python classes: "
            "get_input_types, get_output_types)."
        )
    if found[0] is None:
        raise UnsupportedError(
            f"Expected the {kind} of {where} to have a name, a datatype and a shape, got {str(tensors)[:200]}."
        )
    return found[0]


def _tensor(entry: Any) -> TensorInfo | None:
    if not isinstance(entry, dict):
        return None
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or not isinstance(shape, list):
        return None
    if not all(isinstance(side, int) and not isinstance(side, bool) and -1 <= side < 2**31 for side in shape):
        return None
    return TensorInfo(name=name, datatype=datatype, shape=tuple(shape))


def _text(value: Any, otherwise: str) -> str:
    return value if isinstance(value, str) and value else otherwise


def _strings(values: Any) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()
