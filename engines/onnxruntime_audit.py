"""The proof of what ONNX Runtime computes in integers: its optimized graph, checked against a profiled run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from .audit import Audit, Compute, FloatOperator, LayerVerdict
from .onnx_graph import MAC_OPERATORS, Graph, is_custom, layer_name
from .onnxruntime_kernels import INTEGER_KERNELS, TimedNode, disagreements, match, read_profile
from .onnxruntime_nbits import rounds_activations
from .onnxruntime_reasons import why_float

_WARM_UP = 3
_PROFILED_RUNS = 10
_FLOATS = frozenset(("float", "float16", "bfloat16", "double"))

SessionFactory = Callable[[Path, Path], Any]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is audited.

    Attributes:
        model_path: The file the engine was built from.
        backend: Name of runtime and mode.
        simulation: True where graph optimizations are off, so that Q/DQ run in float.
        batch: One batch for the profiled run, in the engine's layout.
        input_name: Name of the input tensor.
        identity: Provenance of the engine.
    """

    model_path: Path
    backend: str
    simulation: bool
    batch: NDArray[Any]
    input_name: str
    identity: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    optimized: Sequence[NodeProto]
    weight_types: Mapping[str, int]
    profile: Sequence[TimedNode]
    doubted: frozenset[str]
    rounding: Mapping[str, bool | None]

    @property
    def microseconds(self) -> int:
        return max(1, sum(node.microseconds for node in self.profile))

    def timed(self, node: NodeProto) -> TimedNode | None:
        """Find a node's timing by its name, and only if the same kernel ran."""
        hits = (timed for timed in self.profile if node.name and timed.name == node.name)
        return next((timed for timed in hits if timed.nodes == 1 and timed.kernel == node.op_type), None)


def audit_session(subject: Subject, open_session: SessionFactory) -> Audit:
    """Audit an ONNX Runtime engine.

    Args:
        subject: The engine's file, mode and one input batch.
        open_session: Builds a session with the engine's own options that also writes the optimized graph to the first
            path and profiles under the second.

    Returns:
        One verdict per multiplying layer. A layer is integer only if an integer kernel is matched to it, the profile
        shows the same kernel, and its weight and activation types are 8-bit there.
    """
    source = Graph.of(onnx.load(subject.model_path))
    evidence = _gather(subject, open_session)
    partners = match(source, evidence.optimized)
    layers = [_verdict(subject, source, layer, partners, evidence) for layer in source.layers()]
    return Audit(
        backend=subject.backend,
        layers=layers,
        float_operators=_float_operators(evidence, besides={node.op_type for node in source.nodes if is_custom(node)}),
        evidence=(
            "optimized graph",
            f"profile of {_PROFILED_RUNS} runs at batch {len(subject.batch)}",
            *(("answers of each MatMulNBits kernel to noise",) if evidence.rounding else ()),
        ),
        notes=[f"optimized graph and profile disagree on {kernel}" for kernel in sorted(evidence.doubted)],
        identity=subject.identity,
    )


def _gather(subject: Subject, open_session: SessionFactory) -> _Evidence:
    with tempfile.TemporaryDirectory(prefix="robustmq-audit-") as folder:
        optimized_path = Path(folder) / "optimized.onnx"
        session = open_session(optimized_path, Path(folder) / "profile")
        for _ in range(_WARM_UP + _PROFILED_RUNS):
            session.run(None, {subject.input_name: subject.batch})
        profile = read_profile(Path(session.end_profiling()), runs=_WARM_UP + _PROFILED_RUNS, skip=_WARM_UP)
        graph = onnx.load(optimized_path, load_external_data=False).graph
    return _Evidence(
        optimized=graph.node,
        weight_types={tensor.name: tensor.data_type for tensor in graph.initializer},
        profile=profile,
        doubted=frozenset(disagreements(graph.node, profile)),
        rounding=_rounding(subject, graph, profile),
    )


def _rounding(subject: Subject, graph: onnx.GraphProto, profile: Sequence[TimedNode]) -> dict[str, bool | None]:
    """Ask each MatMulNBits kernel that may round its activations to int8 whether it does, by output name."""
    kernels = [node for node in graph.node if node.op_type == "MatMulNBits" and _integer(node, "accuracy_level") == 4]
    names = {name for node in kernels for name in node.input[1:3]}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name in names}
    elements = {timed.name: timed.output_elements // len(subject.batch) for timed in profile}
    threads = int(subject.identity.get("threads", 1))
    return {
        node.output[0]: rounds_activations(
            node, weights, rows=elements.get(node.name, 1) // _integer(node, "N"), threads=threads
        )
        for node in kernels
    }


def _integer(node: NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def _verdict(
    subject: Subject, source: Graph, layer: NodeProto, partners: Mapping[str, NodeProto], evidence: _Evidence
) -> LayerVerdict:
    partner = layer if is_custom(layer) else partners.get(layer.output[0])
    timed = None if partner is None else evidence.timed(partner)
    compute, reason = _judge(subject, source, layer, partner, timed, evidence)
    elements = None if timed is None else timed.output_elements // len(subject.batch)
    return LayerVerdict(
        name=layer_name(layer),
        operator=f"{layer.domain}::{layer.op_type}" if is_custom(layer) else layer.op_type,
        kernel="" if partner is None else partner.op_type,
        macs=source.macs(layer, elements),
        compute=compute,
        reason=reason,
        share_of_time=None if timed is None else timed.microseconds / evidence.microseconds,
    )


def _judge(
    subject: Subject,
    source: Graph,
    layer: NodeProto,
    partner: NodeProto | None,
    timed: TimedNode | None,
    evidence: _Evidence,
) -> tuple[Compute, str]:
    if is_custom(layer):
        return "unknown", "unprovable: a custom operator, whose library does not say what it computes with"
    if partner is None:
        return "unknown", "no kernel of the optimized graph could be matched"
    if partner.op_type in evidence.doubted:
        return "unknown", f"optimized graph and profile disagree on {partner.op_type}"
    if partner.op_type == "MatMulNBits":
        return _judge_block_weights(partner, evidence)
    if partner.op_type not in INTEGER_KERNELS:
        return "float", "simulation: Q/DQ run in float" if subject.simulation else why_float(source, layer)
    if timed is not None and not _eight_bit(partner, timed, evidence.weight_types):
        return "unknown", f"{partner.op_type} ran on {', '.join(timed.input_types)}"
    return "integer", ""


def _judge_block_weights(kernel: NodeProto, evidence: _Evidence) -> tuple[Compute, str]:
    if kernel.output[0] not in evidence.rounding:
        return "float", "weights are stored in few bits but multiplied in float"
    rounded = evidence.rounding[kernel.output[0]]
    if rounded is None:
        return (
            "unknown",
            "accuracy level 4 asks for int8 activations; its answers do not show whether the kernel obeyed",
        )
    return (
        ("integer", "") if rounded else ("float", "accuracy level 4 asks for int8 activations, but none were rounded")
    )


def _eight_bit(kernel: NodeProto, timed: TimedNode, weight_types: Mapping[str, int]) -> bool:
    # DynamicQuantizeMatMul quantizes a float activation itself.
    dynamic = kernel.op_type == "DynamicQuantizeMatMul"
    activation = dynamic or timed.input_types[:1] in (("uint8",), ("int8",))
    weight = kernel.input[MAC_OPERATORS[kernel.op_type][1]]
    return activation and weight_types.get(weight, TensorProto.INT8) in (TensorProto.INT8, TensorProto.UINT8)


def _float_operators(evidence: _Evidence, *, besides: set[str]) -> list[FloatOperator]:
    known = MAC_OPERATORS.keys() | besides
    counts: dict[str, int] = {}
    times: dict[str, int] = {}
    for node in evidence.profile:
        if node.kernel not in known and _FLOATS.intersection(node.input_types[:1] + node.output_types[:1]):
            counts[node.kernel] = counts.get(node.kernel, 0) + node.nodes
            times[node.kernel] = times.get(node.kernel, 0) + node.microseconds
    found = [
        FloatOperator(operator=kernel, count=counts[kernel], share_of_time=times[kernel] / evidence.microseconds)
        for kernel in counts
    ]
    return sorted(found, key=lambda operator: -operator.share_of_time)
