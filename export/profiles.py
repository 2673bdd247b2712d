"""How a QDQ file is laid out for its target. One entry per profile; the precision picks among them."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import UnsupportedError, unknown


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The number formats and Q/DQ placement a target runs fully in integers.

    Attributes:
        name: As on the command line.
        precision: The precision it serves, e.g. ``"w8a8"``; narrower grids are put into its files afterwards.
        activations: Element type of quantized activations, one scale per tensor.
        symmetric_activations: Whether the activations' zero point is the middle of the type.
        weights: Element type of quantized weights, symmetric.
        per_channel: Whether weights have one scale per output channel.
        float_bias: Whether biases stay in float; otherwise they are int32 behind a DequantizeLinear.
        fused_activations: Whether an operator and the Relu or Clip behind it share one Q/DQ, behind both.
        min_opset: Lowest opset of the file.
        summary: One sentence for tables and help.
    """

    name: str
    precision: str
    activations: str
    symmetric_activations: bool
    weights: str
    per_channel: bool
    float_bias: bool
    fused_activations: bool
    min_opset: int
    summary: str


PROFILES: dict[str, Profile] = {
    "cpu-u8": Profile(
        name="cpu-u8",
        precision="w8a8",
        activations="uint8",
        symmetric_activations=False,
        weights="int8",
        per_channel=True,
        float_bias=False,
        fused_activations=False,
        min_opset=13,
        summary="Asymmetric uint8 activations, int8 weights per channel: what ONNX Runtime's CPU kernels fuse fully.",
    ),
    "trt-s8": Profile(
        name="trt-s8",
        precision="w8a8",
        activations="int8",
        symmetric_activations=True,
        weights="int8",
        per_channel=True,
        float_bias=True,
        fused_activations=True,
        min_opset=17,
        summary="Symmetric int8 activations, int8 weights per channel, float bias: explicit quantization for TensorRT.",
    ),
}


NATIVE = "cpu-u8"
"""What ONNX Runtime runs as it is; other profiles are lowered for it."""

TENSORRT = "trt-s8"
"""What TensorRT and OpenVINO run as it is."""


def find_profile(name: str = "cpu-u8", *, precision: str = "w8a8") -> Profile:
    """Look a profile up and check that it serves a precision.

    Raises:
        InputError: If there is no such profile.
        UnsupportedError: If the profile serves another precision.
    """
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    profile = PROFILES[name]
    if precision != profile.precision:
        available = ", ".join(sorted({entry.precision for entry in PROFILES.values()}))
        raise UnsupportedError(f"Precision '{precision}' is not available in profile '{name}'. Available: {available}.")
    return profile
