"""Reading OpenVINO IR and ONNX files for OpenVINO: checked, hashed, and never from outside their folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError, RefusedError
from ..core.files import sha256_file
from .onnx_graph import layer_name
from .onnx_source import checked_model, external_hashes

_HEAD_BYTES = 4096
# OpenVINO's messages lead with lines that name its own sources.
_NOISE = (
    "Exception from ",
    "Check '",
    "While validating node",
    "FrontEnd API failed",
    "Model wasn't fully converted",
    "Summary:",
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model as OpenVINO read it, before it compiled anything.

    Attributes:
        model: The ``openvino.Model``.
        sha256: SHA-256 of the file, in hexadecimal.
        beside: Name to SHA-256 of the files beside it that hold weights; the ``.bin`` of an IR.
        operators: Layer name to ONNX operator, empty for an IR.
    """

    model: Any
    sha256: str
    beside: Mapping[str, str]
    operators: Mapping[str, str]


def read_source(core: Any, path: Path) -> Source:
    """Read an IR (``.xml`` with its ``.bin`` beside it) or an ONNX file.

    Args:
        core: An ``openvino.Core``.
        path: The file.

    Raises:
        InputError: If a file is missing, damaged, or OpenVINO cannot read it.
        UnsupportedError: If an ONNX file holds operators of foreign domains.
        RefusedError: If the ``.bin`` is a link out of the model's folder, or a hard link.
    """
    return _read_ir(core, path) if path.suffix.lower() == ".xml" else _read_onnx(core, path)


def reason(error: BaseException) -> str:
    """Give the first line of an OpenVINO message that is about the model, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_NOISE)]
    return (telling or [type(error).__name__])[0].lstrip("- ").rstrip(".!:")


def _read_onnx(core: Any, path: Path) -> Source:
    checked = checked_model(path)
    try:
        model = core.read_model(path)
    except Exception as error:  # OpenVINO's errors share no base class but this
        raise InputError(f"OpenVINO cannot load '{path}': {reason(error)}.") from error
    return Source(
        model=model,
        sha256=sha256_file(path),
        beside=external_hashes(checked, path.parent),
        operators={layer_name(node): node.op_type for node in checked.graph.node},
    )


def _read_ir(core: Any, path: Path) -> Source:
    """Read both files once, so that the hashed bytes are the bytes that run."""
    topology, weights = _content(path), _content(_weights_file(path))
    # Without this look OpenVINO asks every frontend it has, and some of them print.
    if b"<net" not in topology[:_HEAD_BYTES]:
        raise InputError(f"'{path}' is not an OpenVINO IR: its first {_HEAD_BYTES} bytes hold no <net>. Convert again.")
    try:
        model = core.read_model(topology, weights)
    except Exception as error:  # OpenVINO's errors share no base class but this
        raise InputError(f"OpenVINO cannot load '{path}': {reason(error)}. Convert the model again.") from error
    return Source(
        model=model,
        sha256=hashlib.sha256(topology).hexdigest(),
        beside={path.with_suffix(".bin").name: hashlib.sha256(weights).hexdigest()},
        operators={},
    )


def _weights_file(path: Path) -> Path:
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise InputError(f"'{path}' needs its weights beside it, and '{weights.name}' does not exist. Copy both files.")
    if not weights.resolve().is_relative_to(path.parent.resolve()):
        raise _refusal(weights, "is a link that leaves the model's folder")
    if weights.stat().st_nlink > 1:
        raise _refusal(weights, "is a hard link")
    return weights


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error


def _refusal(weights: Path, why: str) -> RefusedError:
    return RefusedError(f"'{weights}' {why}. Put a plain copy of it beside the model file if you trust it.")
