"""The linter of QDQ files: does a file keep the rules of TensorRT's explicit quantization, as far as they can be read?

No TensorRT builder takes part. A clean result says that no rule known here is broken, not that the engine builds.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from ..core.errors import unknown
from .graph import STANDARD
from .lint_numbers import number_findings
from .lint_placement import placement_findings
from .lint_rules import RULES, Finding, found
from .lint_view import View, node_name
from .onnx_file import opset, walk
from .wiring import QDQ

TARGETS = ("tensorrt",)
_INTEGER = (
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
    *("QLinearAdd", "QGemm"),
)
_ORDER = {"error": 0, "warning": 1, "advice": 2}


def lint(model: onnx.ModelProto, target: str = "tensorrt") -> tuple[Finding, ...]:
    """Find where a QDQ file breaks the rules of an engine builder, without the builder.

    Args:
        model: A model as `read_model` gives it, from any producer; not changed.
        target: ``"tensorrt"``.

    Returns:
        The findings, errors first, then in the graph's order; empty if no rule known here is broken.

    Raises:
        InputError: If the target is unknown, or the model imports no ONNX operators.
    """
    if target not in TARGETS:
        raise unknown("lint target", target, TARGETS)
    view = View.of(model)
    findings = [*_file_findings(model, view), *number_findings(view), *placement_findings(view)]
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))


def lint_rules_table() -> list[tuple[str, str, str, str]]:
    """List every rule: name, severity, what it asks, where it was read."""
    return [(rule.name, rule.severity, rule.summary, rule.source) for rule in RULES.values()]


def _file_findings(model: onnx.ModelProto, view: View) -> Iterator[Finding]:
    version = opset(model)
    if version < 13:
        yield found("opset", "", f"The file has opset {version}, where Q/DQ have no axis.")
    elif version < 17:
        yield found("old-opset", "", f"The file has opset {version}.")
    if not any(node.op_type in QDQ for node in model.graph.node):
        yield found("not-quantized", "", "The file holds no Q/DQ: TensorRT builds it in float.")
    for node in walk(model.graph.node):
        if node.op_type in _INTEGER:
            yield found("integer-operator", node_name(node), f"{node.op_type} computes on codes directly.")
        elif node.domain not in STANDARD:
            yield found("domain", node_name(node), f"{node.op_type} is of domain '{node.domain}'.")
    yield from _dynamic_dims(model, view)


def _dynamic_dims(model: onnx.ModelProto, view: View) -> Iterator[Finding]:
    stored = {tensor.name for tensor in model.graph.initializer}
    for entry in model.graph.input:
        free = [axis for axis, size in enumerate(view.shapes.get(entry.name, ())) if axis and not isinstance(size, int)]
        if free and entry.name not in stored:
            yield found("dynamic-dims", entry.name, f"Axes {free} of the input are dynamic.")
