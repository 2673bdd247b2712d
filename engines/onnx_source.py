"""Checking an ONNX file before a runtime loads it by path, and hashing what lies beside it. No runtime here."""

from __future__ import annotations

from pathlib import Path

import onnx

from ..core.errors import InputError, UnsupportedError
from ..core.files import sha256_file

# Operators outside these domains would have to be loaded from native code that nobody has checked.
KNOWN_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft"))
_MOST_NAMED = 8


def checked_model(path: Path, *, custom_ops: bool = False) -> onnx.ModelProto:
    """Read a model with ONNX's own checker in front of the runtime, which follows links the checker refuses.

    Args:
        path: The ONNX file.
        custom_ops: Let custom operators pass: their library is at hand.

    Returns:
        The model without its external data.

    Raises:
        InputError: If the file is no valid ONNX, or its external data lie outside its folder.
        UnsupportedError: If it holds custom operators that may not pass.
    """
    try:
        onnx.checker.check_model(str(path))
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf, checker and file errors share no base class but this
        raise InputError(f"'{path}' is not a valid ONNX model: {first_line(error)}.") from error
    foreign = custom_operators(model)
    if foreign and not custom_ops:
        raise UnsupportedError(
            f"'{path}' uses custom operators, which need native code of their own: {', '.join(foreign[:_MOST_NAMED])}. "
            "Let ONNX Runtime have their library with --custom-ops LIBRARY, export the model with standard operators, "
            "or let a server that has the library run it and give v2:http://HOST:PORT/MODEL as the target."
        )
    return model


def custom_operators(model: onnx.ModelProto) -> list[str]:
    """Name the operators of a model that are neither ONNX's, nor a runtime's own, nor functions of the model.

    Returns:
        ``domain::operator``, sorted; those inside of functions, branches and loops included.
    """
    own = {(function.domain, function.name) for function in model.functions}
    waiting, found = [*model.graph.node, *(node for function in model.functions for node in function.node)], set()
    while waiting:
        node = waiting.pop()
        if node.domain not in KNOWN_DOMAINS and (node.domain, node.op_type) not in own:
            found.add(f"{node.domain}::{node.op_type}")
        waiting += [inner for entry in node.attribute for graph in (entry.g, *entry.graphs) for inner in graph.node]
    return sorted(found)


def external_hashes(model: onnx.ModelProto, folder: Path) -> dict[str, str]:
    """Hash the files beside a model that hold weights.

    Args:
        model: A model of ``checked_model``, which has refused files outside its folder.
        folder: The folder the model lies in.

    Returns:
        File name to SHA-256 in hexadecimal, sorted by name; empty where the model holds its weights itself.
    """
    names = {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    return {name: sha256_file(folder / name) for name in sorted(names)}


def first_line(error: BaseException) -> str:
    """Give the first line of an error's message without its full stop, or its type where there is none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
