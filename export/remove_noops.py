"""Removal of nodes that do nothing at inference: Identity, and Dropout outside training."""

from __future__ import annotations

import onnx

from ..core.errors import UnsupportedError
from .graph import initializers, is_standard, remove_dead, rename_reads, replace_nodes, used_names, values


def remove_noops(graph: onnx.GraphProto) -> None:
    """Remove Identity and Dropout nodes, in place; names of graph inputs and outputs stay.

    Raises:
        UnsupportedError: If a Dropout is in training mode.
    """
    outputs = {entry.name for entry in graph.output}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if _does_nothing(graph, node) and node.output[0] not in outputs:
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
        else:
            kept.append(node)
    replace_nodes(graph, kept)
    rename_reads(graph, renamed)
    _remove_before_outputs(graph)
    remove_dead(graph)


def _does_nothing(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    if is_standard(node, "Identity"):
        return True
    if not is_standard(node, "Dropout"):
        return False
    if len(node.input) > 2 and node.input[2]:
        mode = values(initializers(graph), [node.input[2]])
        if mode is None or mode[0].any():
            raise UnsupportedError(
                f"Dropout '{node.name}' is in training mode: its output is random. Call model.eval() before the export."
            )
    mask = node.output[1] if len(node.output) > 1 else ""
    return mask not in set(used_names(graph))


def _remove_before_outputs(graph: onnx.GraphProto) -> None:
    """Let the producer of an Identity's input write the graph output itself, where that is possible."""
    outputs = [entry.name for entry in graph.output]
    for target in outputs:
        made = {name for node in graph.node for name in node.output}
        node = next((node for node in graph.node if target in node.output), None)
        if node is None or not _does_nothing(graph, node):
            continue
        source = node.input[0]
        if source in made and source not in outputs:
            replace_nodes(graph, [other for other in graph.node if target not in other.output])
            _rename(graph, source, target)


def _rename(graph: onnx.GraphProto, source: str, target: str) -> None:
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == source:
                node.output[index] = target
    rename_reads(graph, {source: target})
