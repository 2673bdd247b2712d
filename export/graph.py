"""Small tools on ONNX graphs shared by the passes of `prepare`; no pass lives here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ..core.errors import unknown

STANDARD = ("", "ai.onnx")


def is_standard(node: onnx.NodeProto, *operators: str) -> bool:
    """Tell whether a node is one of the named operators of the ONNX standard."""
    return node.op_type in operators and node.domain in STANDARD


def check_nodes(graph: onnx.GraphProto, names: Iterable[str]) -> None:
    """Refuse names that no node of the graph has.

    Raises:
        InputError: If there is one.
    """
    known = [node.name for node in graph.node]
    for name in names:
        if name not in known:
            raise unknown("layer", name, known)


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Give the value of a node's attribute, or the default where it is absent."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Set a node's attribute in place."""
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def initializers(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Give the constant tensors of a graph by name; one that is also a graph input is a default, not a constant."""
    inputs = {entry.name for entry in graph.input}
    return {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}


def values(tensors: Mapping[str, onnx.TensorProto], names: Iterable[str]) -> list[NDArray[Any]] | None:
    """Give the named constants as arrays, or None when one of them is not constant."""
    found = [tensors.get(name) for name in names]
    return None if any(t is None for t in found) else [numpy_helper.to_array(t) for t in found if t is not None]


def add_initializer(graph: onnx.GraphProto, name: str, value: NDArray[Any]) -> None:
    """Add a constant, its array copied into the graph."""
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))


def set_reshape_target(graph: onnx.GraphProto, node: onnx.NodeProto, target: list[int]) -> None:
    """Give a Reshape another constant target, in place; a 0 in it means "as in the input", whatever it meant before."""
    name = unique_name(graph, f"{node.output[0]}_shape")
    add_initializer(graph, name, np.asarray(target, np.int64))
    node.input[1] = name
    if attribute(node, "allowzero", 0):
        set_attribute(node, "allowzero", 0)


def unique_name(graph: onnx.GraphProto, stem: str) -> str:
    """Give a tensor name nobody in the graph uses yet, close to ``stem``."""
    taken = set(used_names(graph)) | {name for node in graph.node for name in node.output}
    taken |= {entry.name for entry in graph.input} | {tensor.name for tensor in graph.initializer}
    candidates = (stem if i == 0 else f"{stem}_{i}" for i in range(len(taken) + 1))
    return next(name for name in candidates if name not in taken)


def used_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield every tensor name that something reads: nodes, their subgraphs, and the graph's outputs."""
    for node in graph.node:
        yield from node_reads(node)
    yield from (entry.name for entry in graph.output)


def node_reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names a node reads, those its subgraphs take from outside included."""
    yield from (name for name in node.input if name)
    for entry in node.attribute:
        for subgraph in (entry.g, *entry.graphs):
            yield from used_names(subgraph)


def has_subgraph(node: onnx.NodeProto) -> bool:
    """Tell whether a node carries graphs of its own (If, Loop, Scan)."""
    return any(entry.HasField("g") or entry.graphs for entry in node.attribute)


def consumers(graph: onnx.GraphProto) -> Counter[str]:
    """Count the readers of each tensor, graph outputs included."""
    return Counter(used_names(graph))


def rename_reads(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Make every reader of a name read another one, in place, subgraphs included."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]
        for entry in node.attribute:
            for subgraph in (entry.g, *entry.graphs):
                rename_reads(subgraph, names)


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Give a graph another list of nodes, in place."""
    kept = list(nodes)
    copies = [onnx.NodeProto() for _ in kept]
    for copy, node in zip(copies, kept, strict=True):
        copy.CopyFrom(node)
    del graph.node[:]
    graph.node.extend(copies)


def remove_dead(graph: onnx.GraphProto) -> None:
    """Drop the nodes and constants nobody reads, in place; topological order is kept."""
    needed = {entry.name for entry in graph.output}
    alive: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node_reads(node))
            alive.append(node)
    if len(alive) < len(graph.node):
        replace_nodes(graph, reversed(alive))
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in needed:
            del graph.initializer[index]
