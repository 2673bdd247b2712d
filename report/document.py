"""The document a report is made from: plain JSON data, so that whoever measures needs nothing of this package.

Every figure may be null where nothing could be measured; every list may be empty.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from ..core.errors import InputError
from ..core.record import Record
from .decode import decode, encode

FORMAT = "robustmq-report/1"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 24


@dataclass(frozen=True, kw_only=True)
class Target:
    """One engine that was measured.

    Attributes:
        name: How records and tables call it.
        file: The model file's name, or a server's address.
        sha256: Hash of that file, or of what identifies a server's model.
        precision: ``fp32``, ``w8a8``, ...
        size_bytes: Size of the file; 0 where there is none.
        integer_coverage: Share of the multiply-accumulates in integer kernels, in [0, 1]; None where not audited.
        role: The reference of the paired tests, or a candidate.
        engine: Runtime, version and device, e.g. ``onnxruntime 1.31.1 CPU``.
    """

    name: str
    file: str
    sha256: str
    precision: str
    size_bytes: int
    integer_coverage: float | None
    role: Literal["reference", "candidate"]
    engine: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A file that could not be used, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The images: how many were used, and which could not be."""

    name: str
    images: int
    classes: int
    manifest_sha256: str
    failures: tuple[Failure, ...]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One timed figure.

    Attributes:
        engine: Name of the target.
        scenario: One request after the other, or all images at once.
        scope: The engine alone, or with decoding and preprocessing.
        metric: What was timed.
        value: Milliseconds, or images per second.
        low: Lower 95 % bound.
        high: Upper 95 % bound.
        n: Number of timed calls.
        verdict: Whether repeated windows agree, or the engine failed.
        clock: What is inside the clock, in words.
        reason: Why there is no figure; empty where there is one.
    """

    engine: str
    scenario: Literal["single-stream", "offline"]
    scope: Literal["engine", "end-to-end"]
    metric: Literal["p50_ms", "p90_ms", "p99_ms", "images_per_second"]
    value: float
    low: float
    high: float
    n: int
    verdict: Literal["stable", "unstable", "failed"]
    clock: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of the built engine: its kernel, its arithmetic, and why it is not integer if it is not."""

    name: str
    operator: str
    kernel: str
    macs: int | None
    compute: Literal["integer", "float", "unknown"]
    reason: str | None
    share_of_time: float


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The layers of one engine.

    Attributes:
        engine: Name of the target.
        integer_coverage: Share of multiply-accumulates in integer kernels, in [0, 1].
        layers: One entry per layer.
        evidence: What the verdicts rest on.
        notes: Doubts that a reader must see.
    """

    engine: str
    integer_coverage: float | None
    layers: tuple[Layer, ...]
    evidence: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one engine said to one picture."""

    engine: str
    answer: str
    correct: bool


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of an example, as PNG in base64; a difference picture has no answers."""

    kind: Literal["clean", "corrupted", "attacked", "difference"]
    caption: str
    png_base64: str
    answers: tuple[Answer, ...]

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height, from the PNG's header."""
        header = base64.b64decode(self.png_base64[:32])
        return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image of the data set in several states, with its true label."""

    name: str
    label: str
    images: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a curve with its 95 % bounds."""

    x: float
    y: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """One engine's line in a curve."""

    engine: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One diagram. ``y`` is a share in [0, 1], drawn as a percentage, unless the label names another unit."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    y_unit: str = "share"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A cell of the plan that gave no number, and why."""

    cell: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Totals:
    """How much of the plan was measured."""

    cells: int
    measured: int
    skipped: int
    failed: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """Everything one page shows.

    Attributes:
        format: Always ``robustmq-report/1``.
        title: The page's heading.
        created: ISO 8601 time.
        command: The command line that made the run.
        targets: The engines, the reference first.
        dataset: The images.
        records: The measured numbers, ``Record.to_json()`` each.
        latency: The timed figures.
        audits: Layer tables.
        examples: Images with answers.
        curves: Diagrams.
        totals: What was planned and what came of it.
        provenance: Nested objects of strings: versions, hardware, settings.
    """

    format: Literal["robustmq-report/1"]
    title: str
    created: str
    command: str
    targets: tuple[Target, ...]
    dataset: Dataset
    records: tuple[Record, ...]
    totals: Totals
    latency: tuple[Latency, ...] = ()
    audits: tuple[Audit, ...] = ()
    examples: tuple[Example, ...] = ()
    curves: tuple[Curve, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Any) -> Document:
        """Check JSON data and give the document.

        Args:
            data: What ``json.loads`` gave.

        Raises:
            InputError: If the format is another one, a key is missing or unknown, a value has the wrong type, two
                targets share a name, or an example's picture is no PNG.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InputError(f"Expected a report document with format '{FORMAT}'. Pass one that `evaluate` wrote.")
        document = cast(Document, decode(cls, data, "document"))
        names = [target.name for target in document.targets]
        if len(set(names)) != len(names):
            raise InputError(f"Expected one name per target, got {names}. Name them apart.")
        for example in document.examples:
            for picture in example.images:
                _check_png(picture.png_base64, example.name)
        return document

    def to_json(self) -> dict[str, Any]:
        """Give the document as JSON data that ``from_json`` reads back; NaN becomes null."""
        return cast(dict[str, Any], encode(self))


def _check_png(content: str, name: str) -> None:
    try:
        head = base64.b64decode(content, validate=True)[:_IHDR_END]
    except (binascii.Error, ValueError):
        head = b""
    if len(head) < _IHDR_END or not head.startswith(_PNG_MAGIC):
        raise InputError(f"Expected a PNG in base64 as picture of example {name!r}. Encode it so.")
