"""Which kernel of ONNX Runtime's optimized graph runs which layer of the source file, and what its profile timed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from onnx import NodeProto

from .onnx_graph import MAC_OPERATORS, Graph, is_custom

INTEGER_KERNELS = frozenset(
    (
        "ConvInteger",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
    )
)
# What ONNX Runtime's passes put before (float16 run in float32) or behind the name a node or tensor had in the file.
_ADDED = re.compile(
    r"^InsertedPrecisionFreeCast_|(_token_\d+|_nchwc|/duplicated|/MatMulAddFusion|/MatMul_With_Transpose)+$"
)
# Conv + BatchNormalization + Add + activation + Q is the longest chain that ends up in one kernel.
_FUSION_DEPTH = 5
_KERNEL_TIME = "_kernel_time"


@dataclass(frozen=True, kw_only=True)
class TimedNode:
    """One node as the profiler saw it.

    Attributes:
        name: Node name, or an invented one where the node has none.
        kernel: Operator that ran.
        provider: Execution provider it ran on.
        nodes: How many nodes share that name.
        microseconds: Total over the timed runs.
        input_types: Element type names of the inputs, in order; weights packed at load time are missing.
        output_types: Element type names of the outputs.
        output_elements: Size of the first output.
    """

    name: str
    kernel: str
    provider: str
    nodes: int
    microseconds: int
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]
    output_elements: int


def read_profile(path: Path, *, runs: int, skip: int) -> list[TimedNode]:
    """Read an ONNX Runtime profile and sum the repeated runs of each node.

    Args:
        path: The JSON file that ``InferenceSession.end_profiling`` named.
        runs: Number of inferences that were profiled.
        skip: How many of them, the first ones, are warm-up and not timed.

    Returns:
        One entry per node name, in order of first execution.
    """
    seen: dict[str, list[dict[str, Any]]] = {}
    for event in json.loads(path.read_text()):
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL_TIME):
            seen.setdefault(event["name"], []).append(event)
    return [_timed(name, events, runs=runs, skip=skip) for name, events in seen.items()]


def _timed(name: str, events: Sequence[Mapping[str, Any]], *, runs: int, skip: int) -> TimedNode:
    arguments = events[0]["args"]
    inputs, outputs = (_typed_shapes(arguments.get(f"{side}_type_shape", [])) for side in ("input", "output"))
    nodes = max(1, len(events) // runs)
    return TimedNode(
        name=name.removesuffix(_KERNEL_TIME),
        kernel=str(arguments["op_name"]),
        provider=str(arguments.get("provider", "")),
        nodes=nodes,
        microseconds=sum(int(event["dur"]) for event in events[skip * nodes :]),
        input_types=tuple(kind for kind, _ in inputs),
        output_types=tuple(kind for kind, _ in outputs),
        output_elements=prod(outputs[0][1]) if outputs else 0,
    )


def _typed_shapes(entries: Sequence[Mapping[str, Sequence[int]]]) -> list[tuple[str, Sequence[int]]]:
    return [(kind, shape) for entry in entries for kind, shape in entry.items()]


def match(source: Graph, optimized: Iterable[NodeProto]) -> dict[str, NodeProto]:
    """Find the optimized node that runs each layer of the source file.

    Evidence is tried from strong to weak: the weight's name, the node's name, the names of the output tensor and of
    what is computed from it. What is left is paired only if every optimized node left is the same kernel, so that no
    pairing could change a verdict.

    Args:
        source: Index of the file.
        optimized: Nodes of the graph that ONNX Runtime executes.

    Returns:
        First output tensor of the source layer to the optimized node; layers without a partner are missing.
    """
    custom = {node.domain for node in source.nodes if is_custom(node)}
    counted = [node for node in source.layers() if node.op_type in MAC_OPERATORS and node.domain not in custom]
    layers = {node.output[0]: node for node in counted}
    kernels = [node for node in optimized if node.op_type in MAC_OPERATORS and node.domain not in custom]
    found: dict[str, NodeProto] = {}
    _pair(found, {key: _weight_names(source, node) for key, node in layers.items()}, kernels, _input_names)
    _pair(found, {key: {node.name} - {""} for key, node in layers.items()}, kernels, _bare_names)
    reached = {key: {key} for key in layers}
    for _ in range(_FUSION_DEPTH):
        _pair(found, reached, kernels, _bare_names)
        reached = {key: _after(source, names) for key, names in reached.items()}
    _pair_alike(found, layers, kernels)
    return found


def _pair(
    found: dict[str, NodeProto],
    clues: Mapping[str, set[str]],
    kernels: Sequence[NodeProto],
    names_of: Callable[[NodeProto], set[str]],
) -> None:
    """Add the pairs that share a clue with each other and with nobody else who is still open."""
    taken = {id(node) for node in found.values()}
    names = [(node, names_of(node)) for node in kernels if id(node) not in taken]
    partners = {
        key: [node for node, known in names if known & wanted] for key, wanted in clues.items() if key not in found
    }
    claims = Counter(id(node) for nodes in partners.values() for node in nodes)
    for key, nodes in partners.items():
        if len(nodes) == 1 and claims[id(nodes[0])] == 1:
            found[key] = nodes[0]


def _pair_alike(found: dict[str, NodeProto], layers: Mapping[str, NodeProto], kernels: Sequence[NodeProto]) -> None:
    taken = {id(node) for node in found.values()}
    rest = [node for node in kernels if id(node) not in taken]
    missing = [key for key in layers if key not in found]
    if len(rest) == len(missing) and len({(node.domain, node.op_type) for node in rest}) == 1:
        found.update(zip(missing, rest, strict=True))


def _weight_names(source: Graph, layer: NodeProto) -> set[str]:
    weight = source.weight(layer)
    return set(source.ancestry(weight)) if source.is_constant(weight) else set()


def _input_names(node: NodeProto) -> set[str]:
    return set(node.input)


def _bare_names(node: NodeProto) -> set[str]:
    return {_ADDED.sub("", name) for name in (node.name, *node.output)} - {""}


def _after(source: Graph, tensors: set[str]) -> set[str]:
    readers = (node for tensor in tensors for node in source.readers.get(tensor, []))
    return {node.output[0] for node in readers if node.op_type not in MAC_OPERATORS}


def disagreements(optimized: Iterable[NodeProto], profile: Sequence[TimedNode]) -> set[str]:
    """Name the kernels of which the optimized graph and the profile show different numbers.

    Args:
        optimized: Nodes of the graph that ONNX Runtime wrote.
        profile: Nodes that it timed, of a session with the same options.

    Returns:
        Operators to be doubted; empty where both sources agree.
    """
    written = Counter(node.op_type for node in optimized)
    timed: Counter[str] = Counter()
    for entry in profile:
        timed[entry.kernel] += entry.nodes
    return {kernel for kernel in written | timed if written[kernel] != timed[kernel]}
