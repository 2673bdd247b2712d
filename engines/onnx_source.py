"""Checking an ONNX file before a runtime loads it by path, and hashing what lies beside it. No runtime here."""

from __future__ import annotations

from pathlib import Path

import onnx

from ..core.errors import InputError, UnsupportedError
from ..core.files import sha256_file

# Operators outside these domains would have to be loaded from native code that nobody has checked.
_KNOWN_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft"))


def checked_model(path: Path) -> onnx.ModelProto:
    """Read a model with ONNX's own checker in front of the runtime, which follows links the checker refuses.

    Args:
        path: The ONNX file.

    Returns:
        The model without its external data.

    Raises:
        InputError: If the file is no valid ONNX, or its external data lie outside its folder.
        UnsupportedError: If it holds operators of foreign domains.
    """
    try:
        onnx.checker.check_model(str(path))
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf, checker and file errors share no base class but this
        raise InputError(f"'{path}' is not a valid ONNX model: {first_line(error)}.") from error
    own = {function.domain for function in model.functions}
    foreign = sorted(_domains(model) - _KNOWN_DOMAINS - own)
    if foreign:
        raise UnsupportedError(
            f"'{path}' uses operators of the domain '{foreign[0]}', which need native code of their own, and no "
            "library of custom operators is loaded here. Export the model with standard operators, or let a server "
            "that has the library run it and give v2:http://HOST:PORT/MODEL as the target."
        )
    return model


def _domains(model: onnx.ModelProto) -> set[str]:
    """Give the domains of all operators, those inside of functions, branches and loops included."""
    waiting, found = [*model.graph.node, *(node for function in model.functions for node in function.node)], set()
    while waiting:
        node = waiting.pop()
        found.add(node.domain)
        waiting += [inner for entry in node.attribute for graph in (entry.g, *entry.graphs) for inner in graph.node]
    return found


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
