"""The table of activation ranges that calibration hands to export, as a file a person can read and edit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import write_json

FORMAT = "robustmq-ranges/1"


@dataclass(frozen=True, kw_only=True)
class RangeTable:
    """Where each activation tensor is clipped.

    Attributes:
        method: Name of the calibrator, e.g. ``"entropy"``.
        images: Number of calibration images seen.
        model_sha256: The float model that was observed.
        data_sha256: The manifest of the calibration images, in the order used.
        preset: Name of the preprocessing preset the images went through.
        ranges: Tensor name to (low, high), low <= high, both finite.
    """

    method: str
    images: int
    model_sha256: str
    data_sha256: str
    preset: str
    ranges: Mapping[str, tuple[float, float]]

    def save(self, path: Path) -> None:
        """Write the table as JSON, whole or not at all."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Give the table as JSON data."""
        return {
            "format": FORMAT,
            "method": self.method,
            "images": self.images,
            "model_sha256": self.model_sha256,
            "data_sha256": self.data_sha256,
            "preset": self.preset,
            "ranges": {name: list(bounds) for name, bounds in self.ranges.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RangeTable:
        """Read back what `to_json` gave.

        Raises:
            ValueError: If a range is no range, or a number is none; `KeyError` and `TypeError` likewise.
        """
        return cls(
            method=str(document["method"]),
            images=int(document["images"]),
            model_sha256=str(document["model_sha256"]),
            data_sha256=str(document["data_sha256"]),
            preset=str(document["preset"]),
            ranges={name: _bounds(name, pair) for name, pair in document["ranges"].items()},
        )

    @classmethod
    def load(cls, path: Path) -> RangeTable:
        """Read a table back.

        Raises:
            InputError: If the file is missing, is not such a table, or holds a range that is no range.
        """
        document = _read(path)
        try:
            return cls.from_json(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"'{path}' is not a complete range table: {error}. Write it anew with `build`.") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"Range table '{path}' does not exist. Check the path.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is not readable as JSON: {error}. Pass a table written by `build`.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"Expected a range table with format '{FORMAT}' in '{path}'. Pass one written by `build`.")
    return document


def _bounds(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in pair)
    except (TypeError, ValueError) as error:
        raise ValueError(f"range of tensor '{name}' is {pair!r}, not two numbers") from error
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"range of tensor '{name}' is ({low}, {high})")
    return low, high
