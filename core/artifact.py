"""A model file and its card: the sidecar that says what the file is and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import sha256_file, write_json

FORMAT = "robustmq-card/1"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a model file.

    Attributes:
        file: Name of the file the card lies beside.
        sha256: Hash of the file's content.
        size_bytes: Size of the file.
        kind: What the file is, ``float`` or ``qdq``.
        precision: As `core.precision` prints it, e.g. ``w8a8``.
        parents: Hashes of what it was made from, by role (``model``, ``calibration``, ``ranges``).
        recipe: Every setting that made it, as JSON data.
        preset: The preprocessing it expects, as JSON data (see `inputs.pipeline`).
        audit: Summary of the integer audit, as JSON data.
        tools: Package versions that made it.
    """

    file: str
    sha256: str
    size_bytes: int
    kind: str
    precision: str
    parents: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    preset: Mapping[str, Any] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)


def card_path(model: Path) -> Path:
    """Give the place of a model's card: ``model.onnx`` to ``model.onnx.card.json``."""
    return model.with_name(f"{model.name}.card.json")


def write_card(model: Path, card: Card) -> Path:
    """Write the card beside its model, whole or not at all, and give its path."""
    path = card_path(model)
    write_json(path, {"format": FORMAT, **asdict(card)})
    return path


def read_card(model: Path) -> Card | None:
    """Read the card beside a model, or give None where there is none.

    Raises:
        InputError: If the card is no card, or the model's content is not what the card describes.
    """
    path = card_path(model)
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != FORMAT:
            raise ValueError(f"its format is not '{FORMAT}'")
        card = Card(**document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"'{path}' is not a model card: {error}. Delete it, or build the model anew.") from error
    actual = sha256_file(model)
    if actual != card.sha256:
        raise InputError(
            f"'{model}' is not the file its card describes: expected sha256 {card.sha256[:12]}, got {actual[:12]}. "
            "Build it anew, or delete the card if the model was replaced on purpose."
        )
    return card
