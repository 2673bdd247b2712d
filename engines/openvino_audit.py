"""The proof of what OpenVINO computes in integers: its runtime model after profiled inferences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .audit import Audit, Compute, FloatOperator, LayerVerdict
from .openvino_files import Source
from .openvino_graph import MAC_OPERATORS, layers, macs, operator_of, source_name, why_float

_WARM_UP = 3
_PROFILED_RUNS = 10
_MAC_KERNELS = frozenset(("Convolution", "Deconvolution", "FullyConnected", "MatMul"))
_INTEGERS = frozenset(("i8", "u8"))
_FLOATS = frozenset(("f32", "f16", "bf16"))
# What OpenVINO's low-precision transformations put behind the name of a layer they rewrite.
_ENDINGS = ("", "_original", "/DequantizationMultiply")
_NO_WORK = frozenset(("Const", "Input", "Output"))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is audited.

    Attributes:
        source: The model as read from its file.
        compiled: It as compiled with the engine's own options, and with counters switched on.
        backend: Name of runtime and mode.
        simulation: True where Q/DQ run in float on purpose.
        batch: One batch for the profiled runs, in the engine's layout.
        identity: Provenance of the engine.
    """

    source: Source
    compiled: Any
    backend: str
    simulation: bool
    batch: NDArray[Any]
    identity: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Kernel:
    """One node of the runtime model.

    ``primitive`` ends in the type of the first input, ``inputs`` are the types of all of them; the runtime model's
    ``runtimePrecision`` is not read, since it shows the type of what is stored rather than of what is computed.
    """

    kind: str
    primitive: str
    inputs: tuple[str, ...]
    layers: str
    microseconds: float

    @property
    def suffix(self) -> str:
        return self.primitive.rpartition("_")[2].lower()

    @property
    def label(self) -> str:
        return f"{self.kind} {self.primitive}"

    def runs(self, name: str) -> bool:
        return any(f",{name}{ending}," in f",{self.layers}," for ending in _ENDINGS)


def audit_model(subject: Subject) -> Audit:
    """Audit an OpenVINO engine.

    Args:
        subject: The engine's model, built once more with counters, and one input batch.

    Returns:
        One verdict per multiplying layer. A layer is integer only if one kernel is matched to it by name, that kernel's
        primitive is an 8-bit one, and both its activation and its weight reach it in 8 bits.
    """
    kernels = _profile(subject)
    total = max(1.0, sum(kernel.microseconds for kernel in kernels))
    model = subject.source.model
    if model.inputs[0].get_partial_shape()[0].is_dynamic:
        model.reshape([1, *subject.batch.shape[1:]])
    return Audit(
        backend=subject.backend,
        layers=[_verdict(subject, layer, kernels, total) for layer in layers(model)],
        float_operators=_float_operators(kernels, total),
        evidence=("runtime model", f"profile of {_PROFILED_RUNS} runs at batch {len(subject.batch)}"),
        identity=subject.identity,
    )


def _profile(subject: Subject) -> list[_Kernel]:
    """Run the engine and read its kernels, their times without those of the warm-up.

    OpenVINO reports the mean over all runs so far, in whole microseconds; two readings give the mean in between.
    """
    request = subject.compiled.create_infer_request()
    early = _after(request, subject, _WARM_UP)
    late = _after(request, subject, _PROFILED_RUNS)
    warm = {node.get_friendly_name(): _mean(node) * _WARM_UP for node in early}
    return [_kernel(node, warm.get(node.get_friendly_name(), 0.0)) for node in late]


def _after(request: Any, subject: Subject, runs: int) -> Sequence[Any]:
    """Give the nodes of the runtime model after some more inferences."""
    for _ in range(runs):
        request.infer([subject.batch])
    nodes: Sequence[Any] = subject.compiled.get_runtime_model().get_ordered_ops()
    return nodes


def _kernel(node: Any, warm_up_microseconds: float) -> _Kernel:
    everything = _mean(node) * (_WARM_UP + _PROFILED_RUNS)
    return _Kernel(
        kind=_note(node, "layerType"),
        primitive=_note(node, "primitiveType"),
        inputs=tuple(str(port.get_element_type().get_type_name()) for port in node.input_values()),
        layers=_note(node, "originalLayersNames"),
        microseconds=max(0.0, everything - warm_up_microseconds),
    )


def _mean(node: Any) -> float:
    text = _note(node, "execTimeMcs")
    return float(text) if text.isdigit() else 0.0


def _note(node: Any, key: str) -> str:
    notes = node.get_rt_info()
    return str(notes[key].astype(str)) if key in notes else ""


def _verdict(subject: Subject, layer: Any, kernels: Sequence[_Kernel], total: float) -> LayerVerdict:
    kernel = _partner(layer, kernels)
    compute, reason = _judge(subject, layer, kernel)
    return LayerVerdict(
        name=source_name(layer),
        operator=operator_of(layer, subject.source.operators),
        kernel="" if kernel is None else kernel.label,
        macs=macs(layer),
        compute=compute,
        reason=reason,
        share_of_time=None if kernel is None else kernel.microseconds / total,
    )


def _partner(layer: Any, kernels: Sequence[_Kernel]) -> _Kernel | None:
    """Find the one kernel that names the layer; a kernel that multiplies goes before one that holds a part of it."""
    multiplying = [kernel for kernel in kernels if kernel.kind in _MAC_KERNELS]
    for pool in (multiplying, kernels):
        for name in (layer.get_friendly_name(), source_name(layer)):
            found = [kernel for kernel in pool if kernel.runs(name)]
            if len(found) == 1:
                return found[0]
    return None


def _judge(subject: Subject, layer: Any, kernel: _Kernel | None) -> tuple[Compute, str]:
    if kernel is None:
        return "unknown", "no kernel of the runtime model could be matched"
    if layer.get_type_name() in MAC_OPERATORS and kernel.kind not in _MAC_KERNELS:
        return "unknown", f"fused into a {kernel.kind}, whose inner arithmetic is not reported"
    activation, weight = (*kernel.inputs, "", "")[:2]
    if kernel.suffix in _INTEGERS and {activation, weight} <= _INTEGERS:
        return "integer", ""
    if kernel.suffix not in _FLOATS or activation not in _FLOATS:
        return "unknown", f"{kernel.primitive} reads {activation or 'nothing'} and {weight or 'nothing'}"
    if subject.simulation:
        return "float", "simulation: Q/DQ run in float"
    return "float", why_float(subject.source.model, layer)


def _float_operators(kernels: Sequence[_Kernel], total: float) -> list[FloatOperator]:
    counts: dict[str, int] = {}
    times: dict[str, float] = {}
    for kernel in kernels:
        idle = kernel.kind in _NO_WORK or kernel.primitive.startswith("unknown") or not kernel.microseconds
        if not idle and kernel.kind not in _MAC_KERNELS and kernel.suffix in _FLOATS:
            counts[kernel.kind] = counts.get(kernel.kind, 0) + 1
            times[kernel.kind] = times.get(kernel.kind, 0.0) + kernel.microseconds
    found = [FloatOperator(operator=kind, count=counts[kind], share_of_time=times[kind] / total) for kind in counts]
    return sorted(found, key=lambda operator: -operator.share_of_time)
