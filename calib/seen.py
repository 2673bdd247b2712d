"""What a calibration has seen of some of its images; parts seen apart add up to the whole, in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .histogram import Observed


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Observations of images.

    Attributes:
        tensors: Tensor name to summary; empty if there was no image.
        flat: Whether every image was one flat colour.
    """

    tensors: Mapping[str, Observed]
    flat: bool

    def merge(self, other: Seen) -> Seen:
        """Give the observations of both sets of images; exact."""
        if not self.tensors or not other.tensors:
            return other if other.tensors else self
        tensors = {name: observed.merge(other.tensors[name]) for name, observed in self.tensors.items()}
        return Seen(tensors=tensors, flat=self.flat and other.flat)

    def to_json(self) -> dict[str, Any]:
        """Give the observations as JSON data."""
        return {"tensors": {name: each.to_json() for name, each in self.tensors.items()}, "flat": self.flat}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Seen:
        """Read back what `to_json` gave."""
        tensors = {name: Observed.from_json(each) for name, each in document["tensors"].items()}
        return cls(tensors=tensors, flat=document["flat"])
