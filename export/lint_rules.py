"""What TensorRT's explicit quantization asks of a QDQ file: every rule with its weight and where it was read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "advice"]

_PARSER = "onnx-tensorrt parser, importer of QuantizeLinear/DequantizeLinear (read in the sources of 10.x and later)"
_OPERATORS = "onnx-tensorrt, docs/operators.md"
_DOCS = "TensorRT documentation, 'Working with Quantized Types' and 'Explicit Quantization'"
_API = "TensorRT API documentation, IQuantizeLayer and IDequantizeLayer"
_PLACEMENT = "TensorRT documentation, recommendations on Q/DQ placement (cited from memory, not read again)"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        name: As in findings.
        severity: ``error``: the source says that the file is refused, or means something else. ``warning``: it is taken
            but a layer is said to run slower or in float. ``advice``: portable or tidy files do it otherwise.
        summary: What the rule asks.
        source: Where it was read.
    """

    name: str
    severity: Severity
    summary: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One place where a file breaks a rule.

    Attributes:
        node: The node's name, or its first output where it has none; the tensor's name for inputs; empty for the file.
        rule: A name in `RULES`.
        severity: The rule's.
        message: What is there, in one sentence.
    """

    node: str
    rule: str
    severity: Severity
    message: str

    def to_json(self) -> dict[str, str]:
        """Give the finding as JSON data, with the source of its rule."""
        return {**asdict(self), "source": RULES[self.rule].source}


def _rules(severity: Severity, *entries: tuple[str, str, str]) -> dict[str, Rule]:
    return {
        name: Rule(name=name, severity=severity, summary=summary, source=source) for name, summary, source in entries
    }


RULES: dict[str, Rule] = {
    **_rules(
        "error",
        ("zero-point", "Every zero point is 0.", _PARSER),
        ("uint8", "Codes are signed; uint8 is taken as INT8, or refused, unless a DLA-only flag is set.", _PARSER),
        ("type", "Codes are INT8, FP8 E4M3, INT4 or FP4 E2M1.", _PARSER),
        ("scale-value", "Every scale is positive and finite.", _PARSER),
        ("scale-type", "Scales are float32, float16 or bfloat16.", _PARSER),
        ("scale-count", "Scale and zero point have one value, one per channel of the axis, or one per block.", _PARSER),
        ("constant", "Scale and zero point are constants.", _API),
        ("activation-axis", "Activations have one scale per tensor.", _DOCS),
        ("weight-axis", "The scales of a weight run along its output channels.", _DOCS),
        (
            "int32-bias",
            "Biases are float.",
            "onnxruntime issues 14229 and 17738; parser: int32 codes are no type of it",
        ),
        ("blocks", "Blocks divide exactly one axis.", _PARSER),
        ("four-bit-odd", "A 4-bit tensor has an even number of elements.", _PARSER),
        ("four-bit-activation", "INT4 is for weights only.", _DOCS),
        ("domain", "Operators are those of the ONNX standard.", _OPERATORS),
        ("integer-operator", "Quantization is written as Q/DQ around float operators.", _OPERATORS),
    ),
    **_rules(
        "warning",
        ("default-type", "A Q without zero point says its type: ONNX means uint8, TensorRT takes INT8.", _PARSER),
        ("before-activation", "No Q/DQ between an operator and the Relu, Clip or BatchNorm behind it.", _PLACEMENT),
        ("half-quantized-add", "Both inputs of a residual Add are quantized.", _PLACEMENT),
        ("float-weight", "A layer with quantized input has quantized weights.", _PLACEMENT),
        ("float-input", "A layer with 8-bit weights has quantized input.", _PLACEMENT),
        ("pair", "A Q and the DQ behind it have the same scale.", _DOCS),
        ("dangling", "Something reads what a Q or DQ gives.", _DOCS),
        ("codes-read", "Codes are read by DQ only; other readers were not checked against TensorRT.", _DOCS),
        ("four-bit-conv", "INT4 is for matrix products.", "Model-Optimizer issue 178"),
        ("dynamic-dims", "Only the batch is dynamic; other dimensions need an optimization profile.", _DOCS),
        ("opset", "The opset is at least 13, the first with an axis in Q/DQ.", _PARSER),
    ),
    **_rules(
        "advice",
        (
            "fused-add",
            "An Add whose float input is a convolution's output: fused by TensorRT, float elsewhere.",
            _PLACEMENT,
        ),
        ("weight-code", "Weight codes stay within -127..127, so that the grid is symmetric.", "profile trt-s8"),
        ("block-size", "INT4 blocks have 64 or 128 weights.", "TensorRT 10.x documentation (from memory)"),
        ("old-opset", "The opset is at least 17.", "profile trt-s8"),
        ("not-quantized", "The file holds Q/DQ.", _DOCS),
    ),
}


def found(rule: str, node: str, message: str) -> Finding:
    """Build a finding with its rule's severity."""
    return Finding(node=node, rule=rule, severity=RULES[rule].severity, message=message)
