"""A vendor's manifest: what an engine wants its images to be and what its answers mean, as a small TOML file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .errors import InputError, unknown
from .files import sha256_json, write_bytes

Triple = tuple[float, float, float]

SUFFIX = ".target.toml"
SERVER = "server"


class Normalisation(NamedTuple):
    """What is subtracted and divided by; red, green, blue, in pixel scale [0, 1]."""

    mean: Triple
    std: Triple


def _same(mean: float, std: float) -> Normalisation:
    return Normalisation((mean, mean, mean), (std, std, std))


RANGES: Mapping[str, Normalisation] = {
    "0..255": _same(0.0, 1 / 255),
    "0..1": _same(0.0, 1.0),
    "-1..1": _same(0.5, 0.5),
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # Caffe's models: the mean pixel is subtracted, nothing is divided.
    "caffe": Normalisation((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
}
"""Name to normalisation of the usual input ranges."""
PIXEL_RANGES = ("0..255", SERVER)

_KINDS = ("logits", "probabilities", "uint8-scores")
_INPUT_KEYS = ("preset", "layout", "colour", "range", "mean", "std")
_OUTPUT_KEYS = ("kind", "offset", "classes", "map")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The contract of one engine; what is None is left to the engine's own signature or the preset.

    Attributes:
        preset: Decoder, resizer and crop: a preset's name or file.
        layout: ``nchw`` or ``nhwc``; checked against the engine.
        colour: ``rgb`` or ``bgr``: the channel order the engine wants.
        range: A name of ``RANGES``, or ``server``: the server preprocesses and takes pixels 0..255 as they are.
        mean: Instead of ``range``: red, green, blue, pixel scale [0, 1].
        std: Likewise.
        kind: What a score is: ``logits``, ``probabilities`` or ``uint8-scores``.
        offset: The engine's index of class 0; 1 skips a background class.
        classes: Number of classes from there on; None takes all.
        map: Instead of ``offset``: the engine's index of each class in turn.

    Raises:
        InputError: If a value is not one of these, or two of them exclude each other.
    """

    preset: str | None = None
    layout: str | None = None
    colour: str | None = None
    range: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    kind: str | None = None
    offset: int = 0
    classes: int | None = None
    map: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check_choice("layout", self.layout, ("nchw", "nhwc"))
        _check_choice("colour", self.colour, ("bgr", "rgb"))
        _check_choice("range", self.range, (*RANGES, SERVER))
        _check_choice("output kind", self.kind, _KINDS)
        _check_numbers(self)
        if (self.mean is None) != (self.std is None) or (self.mean is not None and self.range is not None):
            raise InputError("A manifest gives either `range`, or `mean` and `std` together.")
        if self.map is not None and (self.offset or self.classes is not None):
            raise InputError("A manifest gives either `map`, or `offset` and `classes`.")

    @property
    def normalisation(self) -> Normalisation | None:
        """Mean and std in the order red, green, blue; None where the manifest leaves them to the preset."""
        if self.mean is not None and self.std is not None:
            return Normalisation(self.mean, self.std)
        return None if self.range is None else RANGES["0..255" if self.range == SERVER else self.range]

    @property
    def takes_pixels(self) -> bool:
        """True if the engine is to get pixels 0..255 as they are."""
        return self.range in PIXEL_RANGES

    @property
    def sha256(self) -> str:
        """Hash of all settings."""
        return sha256_json(self.to_json())

    def class_map(self, given: int) -> tuple[int, ...] | None:
        """Give the engine's index of each class, or None where it keeps its own.

        Args:
            given: Number of scores the engine gives per image.

        Raises:
            InputError: If the manifest names a score that the engine does not give.
        """
        if self.map is None and not self.offset and self.classes is None:
            return None
        end = given if self.classes is None else self.offset + self.classes
        indices = self.map if self.map is not None else tuple(range(self.offset, end))
        if len(indices) < 2 or max(indices) >= given:
            raise InputError(
                f"The manifest maps {len(indices)} classes up to index {max(indices, default=-1)}, the engine gives "
                f"{given} scores. Correct `offset`, `classes` or `map`."
            )
        return indices

    def to_json(self) -> dict[str, Any]:
        """Give the settings that are set, as JSON data."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in values.items() if value is not None and (key != "offset" or value)}

    def to_toml(self) -> str:
        """Give the manifest as the text of its file."""
        values = self.to_json()
        parts = []
        for table, keys in (("input", _INPUT_KEYS), ("output", _OUTPUT_KEYS)):
            lines = [f"{key} = {_literal(values[key])}" for key in keys if key in values]
            parts += [f"[{table}]", *lines, ""] if lines else []
        return "\n".join(parts)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_bytes(path, self.to_toml().encode())


def manifest_path(model: Path) -> Path:
    """Give the place of a model's manifest: ``model.tflite`` to ``model.tflite.target.toml``."""
    return model.with_name(model.name + SUFFIX)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest: tables ``[input]`` and ``[output]`` with the attributes of ``Manifest``.

    Raises:
        InputError: If the file is missing, no TOML, or no manifest.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"Manifest '{path}' does not exist. Check the path.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"Manifest '{path}' is not readable as TOML: {error}. Correct the file.") from error
    try:
        values: dict[str, Any] = {}
        for table, keys in (("input", _INPUT_KEYS), ("output", _OUTPUT_KEYS)):
            values |= _entries(table, document.pop(table, {}), keys)
        if document:
            raise unknown("table", next(iter(document)), ("input", "output"))
        return Manifest(**values)
    except InputError as error:
        raise InputError(f"Manifest '{path}': {error}") from error


def _entries(table: str, given: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InputError(f"Expected `[{table}]` to be a table, got {given!r}.")
    for key in given:
        if key not in keys:
            raise unknown(f"entry of [{table}]", key, keys)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def _check_choice(kind: str, value: Any, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise unknown(kind, str(value), known)


def _check_numbers(manifest: Manifest) -> None:
    for name, triple in (("mean", manifest.mean), ("std", manifest.std)):
        least = -math.inf if name == "mean" else 0
        if triple is not None and not (
            isinstance(triple, tuple)
            and len(triple) == 3
            and all(_is_number(value) and value > least for value in triple)
        ):
            raise InputError(f"Expected `{name}` as three numbers in pixel scale [0, 1], `std` above 0, got {triple}.")
    whole: list[Any] = [manifest.offset, *([] if manifest.classes is None else [manifest.classes])]
    listed: Any = () if manifest.map is None else manifest.map
    whole += list(listed) if isinstance(listed, tuple) else [None]
    if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in whole):
        raise InputError("Expected `offset`, `classes` and `map` as whole numbers of 0 or more.")
    if manifest.preset is not None and not isinstance(manifest.preset, str):
        raise InputError(f"Expected `preset` as a name or a file, got {manifest.preset!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_literal(entry) for entry in value)}]"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)
