"""The proof of what a TensorRT plan computes in integers: types and kernels as the engine inspector names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .audit import Audit, Compute, FloatOperator, LayerVerdict
from .tensorrt_inspector import InspectedLayer, read_layers

# How kernels are called that multiply 8-bit integers, and those that multiply floats.
_INTEGER_KERNEL = re.compile(r"i8i8|u8i8|imma|int8|s8s8|i8816|i16832|igemm", re.IGNORECASE)
_FLOAT_KERNEL = re.compile(r"f32f32|f16f16|tf32|h884|h1688|h16816|s1688|bf16|hmma|sgemm|hgemm", re.IGNORECASE)
_EVIDENCE = "engine inspector"
_NO_DETAIL = "unprovable: the plan was built without ProfilingVerbosity.DETAILED and names its layers only"


def audit_inspector(text: str, *, identity: Mapping[str, Any]) -> Audit:
    """Audit a plan.

    Args:
        text: What ``get_engine_information`` gave as JSON, in the words of any version from 8.6 on.
        identity: Provenance of the engine.

    Returns:
        One verdict per multiplying layer of the plan. A layer is integer only if its first input and its weights are
        8-bit integers and its kernel's name does not say otherwise; what the plan hides is ``unknown``, never guessed.

    Raises:
        InputError: If the text is no inspector JSON.
    """
    layers = read_layers(text)
    named_only = bool(layers) and not any(layer.detailed for layer in layers)
    rest = [layer for layer in layers if not layer.multiplies and layer.detailed and "float" in layer.outputs]
    kinds = sorted({layer.kind.partition(" ")[0] for layer in rest})
    return Audit(
        backend=str(identity.get("kind", "tensorrt")),
        layers=[_verdict(layer) for layer in layers if layer.multiplies],
        float_operators=[
            FloatOperator(
                operator=kind, count=sum(layer.kind.partition(" ")[0] == kind for layer in rest), share_of_time=0.0
            )
            for kind in kinds
        ],
        evidence=(_EVIDENCE,),
        notes=(_NO_DETAIL,) if named_only else ("the inspector gives no times: shares of time are not known",),
        identity=dict(identity),
    )


def _verdict(layer: InspectedLayer) -> LayerVerdict:
    compute, reason = _judge(layer)
    return LayerVerdict(
        name=", ".join(layer.sources) or layer.name,
        operator=layer.kind.rpartition(" ")[2] or "?",
        kernel=layer.tactic or layer.kind.partition(" ")[0],
        macs=layer.macs,
        compute=compute,
        reason=reason,
    )


def _judge(layer: InspectedLayer) -> tuple[Compute, str]:
    if not layer.detailed:
        return "unknown", "the plan names the layer and says no more"
    entering, says_float = layer.inputs[:1], _FLOAT_KERNEL.search(layer.tactic)
    says_integer = _INTEGER_KERNEL.search(layer.tactic) is not None
    if entering == ("integer",) and layer.weights in ("integer", "") and not says_float:
        if layer.weights or says_integer:
            return "integer", ""
        return "unknown", "8-bit input, but neither the weights' type nor the kernel's name is given"
    if entering == ("float",) and not says_integer:
        return "float", _why_float(layer)
    if entering == ("integer",) and layer.weights == "float" and not says_integer:
        return "float", "8-bit input, but the weights are float"
    return "unknown", f"input {entering[0] if entering and entering[0] else 'of unknown type'}, kernel '{layer.tactic}'"


def _why_float(layer: InspectedLayer) -> str:
    if layer.weights == "integer":
        return "weights in 8 bits, input in float: only the weights are compressed"
    return "its input has no Q/DQ, or TensorRT moved it behind the layer"
