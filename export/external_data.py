"""Weights kept beside the model file: read into memory, and only from the model's own folder.

A model from elsewhere may name any path as the home of a weight; a runtime that follows it hands the file's content
to whoever reads the outputs. Absolute paths, ``..``, links out of the folder and hard links are therefore refused.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import helper

from ..core.errors import InputError, RefusedError

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def load_external_data(model: onnx.ModelProto, folder: Path, *, limit_bytes: int) -> None:
    """Replace every external tensor of a model by its content, in place.

    Args:
        model: The model as parsed, its weights possibly elsewhere.
        folder: The folder the model file lies in.
        limit_bytes: Bound on the sum of all external tensors.

    Raises:
        RefusedError: If a location leaves the folder, or is a symbolic or hard link.
        InputError: If a location is missing, too short, too large, or does not fit the tensor's shape.
    """
    total = 0
    for tensor in all_tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        total += _tensor_bytes(tensor)
        if total > limit_bytes:
            raise InputError(f"The model's external data exceeds {limit_bytes} bytes. Larger models are not supported.")
        tensor.raw_data = _content(tensor, folder)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor stored in a graph: initializers, sparse ones, attributes and all of their subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _attribute_tensors(node)


def _attribute_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from all_tensors(graph)


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    try:
        itemsize = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"Tensor '{tensor.name}' has the unknown element type {tensor.data_type}.") from error
    if min(tensor.dims, default=0) < 0:
        raise InputError(f"Tensor '{tensor.name}' has a negative dimension: {list(tensor.dims)}.")
    return int(math.prod(tensor.dims) * itemsize)


def _content(tensor: onnx.TensorProto, folder: Path) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(entries.get("location", ""), folder, tensor.name)
    offset = _count(entries.get("offset", "0"), "offset", tensor.name)
    expected = _tensor_bytes(tensor)
    length = _count(entries.get("length", str(expected)), "length", tensor.name)
    if length != expected:
        raise InputError(
            f"External tensor '{tensor.name}' of shape {list(tensor.dims)} takes {expected} bytes, "
            f"its entry says {length}. The file is damaged."
        )
    return _read(path, offset, length, tensor.name)


def _count(text: str, key: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InputError(f"External tensor '{name}': expected `{key}` as a whole number, got {text[:40]!r}.")
    return int(text)


def _inside(location: str, folder: Path, name: str) -> Path:
    if not location or "\0" in location:
        raise InputError(f"External tensor '{name}' names no file.")
    parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
    absolute = PurePosixPath(location).is_absolute() or bool(PureWindowsPath(location).anchor)
    if absolute or ".." in parts:
        raise _refusal(name, location, "is not a path below the model's folder")
    home = folder.resolve()
    path = home / location
    if not path.resolve().is_relative_to(home):
        raise _refusal(name, location, "is a link that leaves the model's folder")
    return path.parent.resolve() / path.name


def _read(path: Path, offset: int, length: int, name: str) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if path.is_symlink():
            raise _refusal(name, path.name, "is a symbolic link") from error
        reason = error.strerror or str(error)
        raise InputError(f"External data '{path.name}' of tensor '{name}' cannot be read: {reason}.") from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"External data '{path.name}' of tensor '{name}' is not a regular file.")
        if status.st_nlink > 1:
            raise _refusal(name, path.name, "is a hard link")
        if offset + length > status.st_size:
            raise InputError(
                f"External data '{path.name}' of tensor '{name}' ends at byte {status.st_size}, "
                f"expected {offset + length}. Copy the file again."
            )
        file.seek(offset)
        return file.read(length)


def _refusal(name: str, location: str, reason: str) -> RefusedError:
    return RefusedError(
        f"External data '{location}' of tensor '{name}' {reason}. "
        "Put a plain copy of it beside the model file if you trust it."
    )
