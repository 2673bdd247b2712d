"""Ranges that other tools wrote: ONNX Runtime's three calibration tables and TensorRT's cache. Nothing is written."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.ranges import FORMAT, RangeTable
from .flat_table import read_pairs

MAX_BYTES = 256 << 20
"""Largest table that is read."""

UNKNOWN = "unknown"
"""What a table's method is called where the file does not tell."""

Ranges = dict[str, tuple[float, float]]

_TENSORRT_LEVELS = 127  # TensorRT's int8 is symmetric: the largest magnitude is 127 steps


@dataclass(frozen=True, kw_only=True)
class FoundRanges:
    """A range table and how its file spells it.

    Attributes:
        format: ``robustmq``, ``onnxruntime-json``, ``onnxruntime-text``, ``onnxruntime-flatbuffers`` or ``tensorrt``.
        symmetric: True where the file keeps one magnitude a tensor and the range is made of it.
        table: The ranges. What a foreign file does not tell is ``"unknown"``, 0 images or an empty hash.
    """

    format: str
    symmetric: bool
    table: RangeTable


def read_ranges(path: Path) -> FoundRanges:
    """Read a range table of any format that is known, told by its content.

    - Our own JSON.
    - ``calibration.json`` of ONNX Runtime's ``write_calibration_table`` and ``save_tensors_data``: lowest and highest.
    - Its ``calibration.cache``, lines of ``tensor value``, and ``calibration.flatbuffers``: one value a tensor, the
      larger of lowest and highest, so the range is (-value, value). For a tensor that is below zero everywhere that
      file says nothing of use; a value below zero is read as its magnitude.
    - TensorRT's calibration cache, ``TRT-8601-EntropyCalibration2`` and lines of ``tensor: 3c010a14``: the scale's
      float32 bits, big-endian, in hex; the range is 127 scales to either side. TensorRT 11 reads no such file any more.

    Args:
        path: The file.

    Raises:
        InputError: If the file is missing, of no such format, or holds a range that is not finite.
    """
    content = _content(path)
    reader = _reader(content)
    try:
        return reader(path, content)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error, RecursionError) as error:
        raise InputError(f"'{path}' is not a complete calibration table: {_sentence(error)}") from error


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"'{path}' exceeds {MAX_BYTES} bytes; no calibration table does. Check the path.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"Range table '{path}' does not exist. Check the path.") from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}. Check the file.") from error


def _reader(content: bytes) -> Callable[[Path, bytes], FoundRanges]:
    if content.startswith(b"TRT-"):
        return _tensorrt
    if content.lstrip().startswith((b"{", b"[")):
        return _json
    return _flatbuffers if b"\0" in content else _onnxruntime_text


def _json(path: Path, content: bytes) -> FoundRanges:
    document = json.loads(content)
    if isinstance(document, dict) and document.get("format") == FORMAT:
        return FoundRanges(format="robustmq", symmetric=False, table=RangeTable.load(path))
    method = UNKNOWN
    if document.get("CLS") == "TensorsData":
        method = str(_plain(document["calibration_method"])).removeprefix("CalibrationMethod.").lower()
        document = document["data"]
    ranges = {str(name): (_number(entry, "lowest"), _number(entry, "highest")) for name, entry in document.items()}
    return _foreign("onnxruntime-json", method, ranges, symmetric=False)


def _number(entry: Any, key: str) -> float:
    if isinstance(entry, list) and len(entry) == 2:  # a plain (low, high) pair, as older versions wrote it
        return float(entry[key == "highest"])
    value = _plain(entry[key])
    while isinstance(value, list):
        (value,) = value
    return float(value)


def _plain(value: Any) -> Any:
    """Unwrap what the table's encoder puts around arrays and enumerations."""
    return value.get("data", value.get("value")) if isinstance(value, dict) else value


def _onnxruntime_text(path: Path, content: bytes) -> FoundRanges:
    pairs = (line.rpartition(" ") for line in _lines(content))
    return _foreign("onnxruntime-text", UNKNOWN, {name: _mirrored(float(value)) for name, _, value in pairs})


def _flatbuffers(path: Path, content: bytes) -> FoundRanges:
    ranges = {name: _mirrored(float(value)) for name, value in read_pairs(content)}
    return _foreign("onnxruntime-flatbuffers", UNKNOWN, ranges)


def _tensorrt(path: Path, content: bytes) -> FoundRanges:
    lines = _lines(content)
    method = next(lines).split("-", 2)[2]
    ranges: Ranges = {}
    for line in lines:
        name, colon, digits = line.rpartition(":")
        bits = bytes.fromhex(digits.strip())
        if not colon or len(bits) != 4:
            raise ValueError(f"expected 'tensor: 8 hex digits', got {line[:80]!r}")
        ranges[name] = _mirrored(struct.unpack(">f", bits)[0] * _TENSORRT_LEVELS)
    return _foreign("tensorrt", method, ranges)


def _lines(content: bytes) -> Iterator[str]:
    return (line.strip() for line in content.decode("utf-8").splitlines() if line.strip())


def _mirrored(magnitude: float) -> tuple[float, float]:
    return -abs(magnitude), abs(magnitude)


def _foreign(
    name: str, method: str, ranges: Mapping[str, tuple[float, float]], *, symmetric: bool = True
) -> FoundRanges:
    if not ranges or "" in ranges:
        raise ValueError("it names no tensor" if not ranges else "a line lacks the tensor's name")
    for tensor, (low, high) in ranges.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"range of tensor '{tensor}' is ({low}, {high})")
    table = RangeTable(method=method, images=0, model_sha256="", data_sha256="", preset=UNKNOWN, ranges=ranges)
    return FoundRanges(format=name, symmetric=symmetric, table=table)


def _sentence(error: Exception) -> str:
    text = str(error).rstrip(".") or type(error).__name__
    known = "tables of `build`, ONNX Runtime's calibration.json, .cache and .flatbuffers, and TensorRT's cache"
    return f"{text}. Known are {known}."
