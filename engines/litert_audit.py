"""The proof of what LiteRT computes in integers: its operator list, the tensors' types, and what a delegate hides."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .audit import Audit, Compute, LayerVerdict
from .litert_files import Operator, Source

_DELEGATE_NODE = "DELEGATE"
_MAC_OPERATORS = ("BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_INTEGER_ACTIVATIONS = ("int16", "int8", "uint8")
_INTEGER_WEIGHTS = ("int4", "int8", "uint8")


def delegated(source: Source, interpreter: Any) -> frozenset[int]:
    """Give the indices of the operators that a delegate has taken over.

    LiteRT keeps the file's operators in its list and puts a node behind them for each delegated part, which names only
    what goes in and out; what lies between is found by walking back from its outputs.

    Args:
        source: The file.
        interpreter: LiteRT's interpreter of it, tensors allocated.
    """
    makers = {out: index for index, operator in enumerate(source.operators) for out in operator.outputs}
    found: set[int] = set()
    for node in interpreter._get_ops_details():
        if node["op_name"] != _DELEGATE_NODE:
            continue
        given, wanted = set(node["inputs"].tolist()), node["outputs"].tolist()
        while wanted:
            tensor = wanted.pop()
            if tensor in makers and tensor not in given and makers[tensor] not in found:
                found.add(makers[tensor])
                wanted.extend(source.operators[makers[tensor]].inputs)
    return frozenset(found)


def audit_source(
    source: Source, hidden: frozenset[int], *, backend: str, delegate: str, identity: Mapping[str, Any]
) -> Audit:
    """Audit a .tflite file as it is run.

    LiteRT's own kernels are chosen by the types of their tensors, so those types prove what they compute. A delegate
    chooses its kernels itself and reports none: its layers are ``unknown``, whatever the types around them say.

    Args:
        source: The file.
        hidden: Indices of the delegated operators.
        backend: Name of runtime and mode.
        delegate: Name of the delegate.
        identity: Provenance of the engine.
    """
    layers = [
        _verdict(source, operator, delegate if index in hidden else None)
        for index, operator in enumerate(source.operators)
        if operator.name in _MAC_OPERATORS
    ]
    return Audit(
        backend=backend,
        layers=layers,
        evidence=("operator list", "tensor types"),
        notes=[*_delegate_notes(source, layers, hidden, delegate), *_float_notes(source)],
        identity=identity,
    )


def _verdict(source: Source, operator: Operator, delegate: str | None) -> LayerVerdict:
    compute, reason = _judge(source, operator)
    if delegate is not None and compute != "float":
        compute, reason = "unknown", f"unprovable: {delegate} does not report its kernels"
    return LayerVerdict(
        name=source.tensors[operator.outputs[0]].name.partition(";")[0],  # the converter lists every fused node
        operator=operator.name,
        kernel=f"{delegate or 'built-in'} {operator.name}",
        macs=_macs(source, operator),
        compute=compute,
        reason=reason,
    )


def _judge(source: Source, operator: Operator) -> tuple[Compute, str]:
    activation, weight = (source.tensors[index].dtype for index in _operands(operator))
    if activation in _INTEGER_ACTIVATIONS and weight in _INTEGER_WEIGHTS:
        return "integer", ""
    if activation == "float32" and weight in _INTEGER_WEIGHTS:
        return "unknown", f"{weight} weights on float32 activations: the file does not say what multiplies them"
    return "float", f"reads {activation} activations and {weight} weights"


def _operands(operator: Operator) -> tuple[int, int]:
    """Give the indices of activation and weight; a transposed convolution reads its shape first and its input last."""
    if operator.name == "TRANSPOSE_CONV":
        return operator.inputs[2], operator.inputs[1]
    return operator.inputs[0], operator.inputs[1]


def _macs(source: Source, operator: Operator) -> int | None:
    """Count the multiply-accumulates for one image; None where a side is open or the kind is not counted."""
    entry, weight = (_sides(source, index) for index in _operands(operator))
    output = _sides(source, operator.outputs[0])
    if entry is None or weight is None or output is None or len(output) < 2:
        return None
    images = math.prod(output[1:])
    match operator.name:
        case "CONV_2D" | "CONV_3D":
            return images * math.prod(weight[1:] if operator.name == "CONV_2D" else weight[:-1])
        case "DEPTHWISE_CONV_2D":
            return images * math.prod(weight[1:3])
        case "TRANSPOSE_CONV":
            return math.prod(entry[1:]) * math.prod(weight[:3])
        case "FULLY_CONNECTED":
            return images * weight[-1]
    return None  # a product of two activations: which side is summed depends on options that are not read


def _sides(source: Source, index: int) -> tuple[int, ...] | None:
    """Give a tensor's shape with batch 1 for an open batch, or None where another side is open."""
    first, *rest = source.tensors[index].shape or (None, None)
    known = [side for side in rest if side is not None]
    return None if len(known) != len(rest) else (1 if first is None else first, *known)


def _delegate_notes(source: Source, layers: Sequence[LayerVerdict], hidden: frozenset[int], delegate: str) -> list[str]:
    if not hidden:
        return []
    unknown = sum(layer.reason.startswith("unprovable") for layer in layers)
    note = f"{delegate} runs {len(hidden)} of {len(source.operators)} operators and hides how"
    if not unknown:
        return [f"{note}."]
    return [
        f"{note}: {unknown} layers on integer tensors are unprovable. `litert-builtin:` runs the same file on kernels "
        "that can be audited, with slightly other answers."
    ]


def _float_notes(source: Source) -> list[str]:
    """Name the operators without multiplications that touch float tensors; nothing times them."""
    counts = Counter(
        operator.name
        for operator in source.operators
        if operator.name not in _MAC_OPERATORS
        and any(source.tensors[index].dtype == "float32" for index in (*operator.inputs, *operator.outputs))
    )
    if not counts:
        return []
    listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return [f"Operators on float tensors: {listed}."]
