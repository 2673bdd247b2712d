"""ONNX files: read with distrust, written whole. Nothing here changes a graph."""

from __future__ import annotations

import math
import re
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]  # protobuf has no types
from onnx import checker, defs, helper

from ..core.errors import InputError, UnsupportedError
from ..core.files import write_bytes
from .external_data import all_tensors, load_external_data

MAX_BYTES = 2**31 - 1  # protobuf's own bound on one message
MIN_OPSET = 7  # older operators differ in broadcasting; the converter does not cover them
KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")  # the last appears in quantized files


def read_model(path: Path, *, custom_ops: bool = False) -> onnx.ModelProto:
    """Read an ONNX file and check it before any runtime sees it.

    External data is loaded into memory, so that the result is self-contained.

    Args:
        path: The file; at most 2 GiB with its external data.
        custom_ops: Let custom operators pass, for a model that is run and not changed.

    Returns:
        The checked model.

    Raises:
        InputError: If the file is missing, no regular file, empty, too large, or no valid ONNX model.
        UnsupportedError: If the model has operators of a custom domain, or an opset this installation does not know.
        RefusedError: If external data lies outside the model's folder.
    """
    path = Path(path)
    model = _parse(_read_bytes(path), path)
    load_external_data(model, path.parent, limit_bytes=MAX_BYTES)
    _check_imports(model, path)
    if not custom_ops:
        _check_domains(model)
    _check_tensors(model)
    check_model(model)
    return model


def check_model(model: onnx.ModelProto) -> None:
    """Run ONNX's own checker over a model in memory.

    Raises:
        InputError: If the model breaks a rule of the format.
    """
    try:
        checker.check_model(serialize(model))
    except (checker.ValidationError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"The ONNX checker refuses the model: {one_line(error)}. Export it again.") from error


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model as one file, whole or not at all.

    Raises:
        InputError: If the model exceeds 2 GiB.
    """
    write_bytes(Path(path), serialize(model))


def serialize(model: onnx.ModelProto) -> bytes:
    """Give the bytes `write_model` would write; the same model gives the same bytes.

    Raises:
        InputError: If the model exceeds 2 GiB.
    """
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except (ValueError, EncodeError) as error:
        raise InputError(f"The model cannot be serialized: {one_line(error)}. Models over 2 GiB do not fit.") from error


def one_line(error: BaseException) -> str:
    """Give an exception's message on one line of at most 300 printable signs, without a final full stop."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # colours
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in plain).split())
    return (text[:297] + "..." if len(text) > 300 else text).rstrip(".")


def opset(model: onnx.ModelProto) -> int:
    """Give the version of the standard operators a model imports.

    Raises:
        InputError: If it imports none, or two.
    """
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1:
        raise InputError(f"Expected one import of the ONNX operators, got versions {versions}. Export the model again.")
    return int(versions[0])


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"'{path}' is a folder. Pass the .onnx file in it.")
    if not path.exists():
        raise InputError(f"Model '{path}' does not exist. Check the path.")
    if not path.is_file():
        raise InputError(f"'{path}' is not a regular file. Pass an .onnx file.")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"'{path}' is empty. Export or download it again.")
    if size > MAX_BYTES:
        raise InputError(f"'{path}' has {size} bytes, more than the {MAX_BYTES} an ONNX file may have.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error


def _parse(content: bytes, path: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, ValueError) as error:
        raise InputError(f"'{path}' is not an ONNX model, or is damaged: {one_line(error)}.") from error
    if not model.graph.node:
        raise InputError(f"'{path}' holds no graph. It is not an ONNX model, or is damaged.")
    return model


def _check_imports(model: onnx.ModelProto, path: Path) -> None:
    newest = defs.onnx_opset_version()
    version = opset(model)
    if not MIN_OPSET <= version <= newest:
        raise UnsupportedError(
            f"'{path}' has opset {version}; supported are {MIN_OPSET} to {newest}. Export it with an opset of 13 to 20."
        )


def _check_domains(model: onnx.ModelProto) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    graphs = [model.graph.node, *(function.node for function in model.functions)]
    foreign = sorted(
        {
            f"{node.domain}::{node.op_type}"
            for nodes in graphs
            for node in walk(nodes)
            if node.domain not in KNOWN_DOMAINS and (node.domain, node.op_type) not in own
        }
    )
    if foreign:
        raise UnsupportedError(
            f"The model uses custom operators: {', '.join(foreign[:8])}. Export it with standard ONNX operators only; "
            "`evaluate`, `audit`, `latency` and `diagnose` take it with its library: --custom-ops LIBRARY"
        )


def walk(nodes: object) -> list[onnx.NodeProto]:
    """List nodes together with the nodes of all their subgraphs."""
    found: list[onnx.NodeProto] = []
    for node in nodes:  # type: ignore[attr-defined]  # protobuf's repeated containers share no public type
        found.append(node)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                found.extend(walk(graph.node))
    return found


def _check_tensors(model: onnx.ModelProto) -> None:
    for tensor in all_tensors(model.graph):
        if tensor.HasField("raw_data") and tensor.data_type != onnx.TensorProto.STRING:
            _check_raw_size(tensor)


def _check_raw_size(tensor: onnx.TensorProto) -> None:
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"Tensor '{tensor.name}' has the unknown element type {tensor.data_type}.") from error
    count = math.prod(tensor.dims)
    wanted = {count * dtype.itemsize, (count + 1) // 2, (count + 3) // 4}  # the last two: packed 4- and 2-bit types
    if min(tensor.dims, default=0) < 0 or len(tensor.raw_data) not in wanted:
        raise InputError(
            f"Tensor '{tensor.name}' of shape {list(tensor.dims)} holds {len(tensor.raw_data)} bytes, "
            f"expected {count * dtype.itemsize}. The file is damaged."
        )
