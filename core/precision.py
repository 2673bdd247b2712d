"""What a bit width means: the grid of values, the container that holds them, the kernel that computes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .errors import InputError

Kernel = Literal["integer", "float"]
_GRAMMAR = re.compile(r"w(?P<weights>\d{1,2})a(?P<activations>\d{1,2})(?:-b(?P<block>[1-9]\d{0,3}))?")
_E4M3 = "fp8"
_FLOATS = {"fp32": 32, "fp16": 16}


@dataclass(frozen=True, kw_only=True)
class Precision:
    """A precision such as ``w8a8``, ``w4a16-b32``, ``fp8`` or ``fp32``.

    Attributes:
        weights: Bits of the weight grid, 2..8 for integers, 16 or 32 for floats.
        activations: Bits of the activation grid; 16 and 32 mean floating point, but ``w8a16`` has int16 activations.
        block: Number of weights that share a scale along the reduction axis, or None for per-channel scales.
        e4m3: Whether the 8 bits are those of the float format E4M3.
    """

    weights: int
    activations: int
    block: int | None = None
    e4m3: bool = False

    @classmethod
    def parse(cls, text: str) -> Precision:
        """Read a precision.

        Raises:
            InputError: If the text is no precision, or names a width that does not exist.

        Example:
            >>> Precision.parse("w4a16-b32")
            Precision(weights=4, activations=16, block=32, e4m3=False)
        """
        if text == _E4M3:
            return cls(weights=8, activations=8, e4m3=True)
        if text in _FLOATS:
            return cls(weights=_FLOATS[text], activations=_FLOATS[text])
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise InputError(f"Expected a precision such as 'w8a8', 'w4a16-b32' or 'fp32', got {text!r}.")
        weights, activations = int(match["weights"]), int(match["activations"])
        if not 2 <= weights <= 8 or activations not in (*range(2, 9), 16, 32):
            raise InputError(f"Expected weights of 2..8 bits and activations of 2..8, 16 or 32 bits, got {text!r}.")
        return cls(weights=weights, activations=activations, block=int(match["block"]) if match["block"] else None)

    @classmethod
    def from_bits(cls, bits: int) -> Precision:
        """Give the precision that ``--bits N`` asks for: N bits for weights and activations.

        Raises:
            InputError: If no grid of that width exists.
        """
        if not 2 <= bits <= 8:
            raise InputError(f"Expected `--bits` in 2..8, got {bits}.")
        return cls(weights=bits, activations=bits)

    def __str__(self) -> str:
        """Write the precision as `parse` reads it."""
        if self.e4m3:
            return _E4M3
        if self.weights in _FLOATS.values():
            return f"fp{self.weights}"
        block = f"-b{self.block}" if self.block else ""
        return f"w{self.weights}a{self.activations}{block}"

    @property
    def kernel(self) -> Kernel:
        """Tell which arithmetic this grid is meant for; what really ran is the audit's answer."""
        return "integer" if self.activations <= 8 and not self.e4m3 else "float"

    @property
    def is_wide(self) -> bool:
        """Whether Q/DQ mark a format that no integer kernel takes: int16 activations beside int8 weights, or FP8."""
        return self.e4m3 or (self.weights, self.activations, self.block) == (8, 16, None)

    def describe(self) -> str:
        """Say in words what the grid is and what computes it, never more than is true.

        Example:
            >>> Precision.parse("w4a8").describe()
            '4-bit weights, 8-bit activations: a 4-bit grid in int8 kernels'
        """
        if self.weights in _FLOATS.values():
            return f"{self.weights}-bit floating point"
        if self.e4m3:
            return "8-bit floating point (E4M3), float compute where no FP8 kernel runs"
        if self.is_wide:
            return f"{self.weights}-bit weights, 16-bit integer activations, float compute"
        if self.kernel == "float":
            return f"{self.weights}-bit weights, float compute (weight-only)"
        words = f"{self.weights}-bit weights, {self.activations}-bit activations"
        narrow = min(self.weights, self.activations)
        return f"{words}: int8 kernels" if narrow == 8 else f"{words}: a {narrow}-bit grid in int8 kernels"
