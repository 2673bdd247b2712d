"""What makes few bits work after training, as settings; what each of them does lives in calib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .errors import InputError, unknown

ROUNDINGS = ("nearest", "mse", "gptq", "refined")
"""How weights are rounded, each doing more than the one before: outermost level at the largest magnitude; scales of
least squared error; second-order rounding on these; single codes and scales improved behind it."""

SECOND_ORDER = ("gptq", "refined")
"""The roundings that look at the layers' inputs."""


@dataclass(frozen=True, kw_only=True)
class Remedies:
    """Which remedies a build applies; None leaves the choice to the width, see `for_width`.

    Attributes:
        equalise: Scale the channels between two convolutions alike.
        smooth: How much of the range behind a LayerNormalization moves into the weights, in [0, 1]; None for no change.
        rounding: One of ``ROUNDINGS``.
        compensate: Aim the rounding at the float network's output on the inputs that the layers before now give.
        bias_correction: Put the mean of each output channel back to the float network's.

    Raises:
        InputError: If a value is none of these, or ``compensate`` goes with a rounding that looks at no inputs.
    """

    equalise: bool = False
    smooth: float | None = None
    rounding: str | None = None
    compensate: bool | None = None
    bias_correction: bool | None = None

    def __post_init__(self) -> None:
        for name in ("equalise", "compensate", "bias_correction"):
            value = getattr(self, name)
            if not (isinstance(value, bool) or (value is None and name != "equalise")):
                raise InputError(f"Expected `{name}` to be true or false, got {value!r}.")
        if self.smooth is not None and not (_is_number(self.smooth) and 0 <= self.smooth <= 1):
            raise InputError(f"Expected `smooth` in 0..1, got {self.smooth!r}. The paper's choice is 0.5.")
        if self.rounding is not None and self.rounding not in ROUNDINGS:
            raise unknown("rounding", str(self.rounding), ROUNDINGS)
        if self.compensate and self.rounding in ("nearest", "mse"):
            raise InputError(
                f"Rounding '{self.rounding}' looks at no inputs, so there is nothing to compensate. Use "
                f"{' or '.join(SECOND_ORDER)}, or leave `compensate` out."
            )

    @property
    def needs_images(self) -> bool:
        """Whether something that was asked for looks at images."""
        looks = self.rounding in SECOND_ORDER or self.compensate or self.bias_correction
        return bool(looks) or self.smooth is not None

    @property
    def for_weights(self) -> bool:
        """Whether something was asked for that changes how weights are rounded."""
        return self.rounding not in (None, "nearest") or bool(self.compensate) or bool(self.bias_correction)

    def for_width(self, *, narrow: bool, images: bool) -> Remedies:
        """Give the remedies with every choice made.

        Below 8 bits the defaults are all that is known to help: ``refined``, compensated, biases corrected. At 8 bits
        there is little to gain, and without images nothing to go by: ``nearest`` and no more.

        Args:
            narrow: Whether anything is on fewer than 8 bits.
            images: Whether there are calibration images.
        """
        much = narrow and images
        rounding = self.rounding or ("refined" if much else "nearest")
        compensate = self.compensate
        if compensate is None:
            compensate = much and rounding in SECOND_ORDER
        correct = self.bias_correction
        if correct is None:
            correct = much and rounding != "nearest"
        if compensate and rounding not in SECOND_ORDER:
            rounding = "gptq"
        return Remedies(
            equalise=self.equalise,
            smooth=self.smooth,
            rounding=rounding,
            compensate=compensate,
            bias_correction=correct,
        )

    def over(self, other: Remedies) -> Remedies:
        """Give these remedies, and another's where these leave the choice open."""
        return Remedies(
            equalise=self.equalise or other.equalise,
            smooth=other.smooth if self.smooth is None else self.smooth,
            rounding=self.rounding or other.rounding,
            compensate=other.compensate if self.compensate is None else self.compensate,
            bias_correction=other.bias_correction if self.bias_correction is None else self.bias_correction,
        )

    def to_json(self) -> Mapping[str, Any]:
        """Give the settings as JSON data."""
        return asdict(self)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
