"""Opening the engines of a run, with the preprocessing their cards declare and the images they must not see."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifact import Card, read_card
from ..core.errors import InputError
from ..core.files import sha256_file
from ..engines.catalog import open_engine, split_target
from ..engines.protocol import Engine
from ..engines.selftest import SelfTest, self_test
from ..evaluate.target import Target
from ..export.onnx_file import read_model
from ..inputs.catalog import find_preset
from ..inputs.dataset import Dataset
from ..inputs.pipeline import Pipeline

DEFAULT_PRESET = "torchvision"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """One engine, ready to be evaluated.

    Attributes:
        target: The engine with its pipeline.
        path: Its file.
        card: Its card, or None.
        precision: From the card, else read off the file.
        selftest: How its answers depend on batch and repetition.
    """

    target: Target
    path: Path
    card: Card | None
    precision: str
    selftest: SelfTest

    def to_json(self, *, reference: bool, integer_coverage: float | None) -> dict[str, Any]:
        """Give the engine as the report's JSON data."""
        provenance = self.target.engine.provenance()
        return {
            "name": self.target.name,
            "file": self.path.name,
            "sha256": str(self.target.identity["sha256"]),
            "precision": self.precision,
            "size_bytes": self.path.stat().st_size,
            "integer_coverage": integer_coverage,
            "role": "reference" if reference else "candidate",
            "engine": f"{provenance['kind']} {provenance['version']} ({', '.join(provenance['providers'])})",
        }


@contextmanager
def opened_targets(
    paths: Sequence[str], *, preset: str | None, threads: int | None, batch: int
) -> Iterator[list[Opened]]:
    """Open every engine, run its self-test, and close them all at the end.

    Raises:
        InputError: If a file cannot be opened, or the engines disagree on preprocessing or classes.
    """
    cards = [_checked_card(path) for path in paths]
    pipeline = _pipeline(paths, cards, preset)
    names = _names(paths)
    with ExitStack() as stack:
        found = []
        for path, card, name in zip(paths, cards, names, strict=True):
            engine = open_engine(path, threads=threads)
            stack.callback(engine.close)
            found.append(_opened(Path(split_target(path).path), engine, card, name, pipeline, batch))
        _check_alike(found)
        yield found


def without_calibration(dataset: Dataset, targets: Sequence[Opened]) -> tuple[Dataset, int]:
    """Drop the images that a target was calibrated with, and count them: they are no test of it.

    Raises:
        InputError: If no image is left.
    """
    seen = set().union(*(_calibration_hashes(target) for target in targets))
    if not seen:
        return dataset, 0
    kept = tuple(sample for sample in dataset.samples if sample.sha256 not in seen)
    if not kept:
        raise InputError("Every image was used to calibrate a target. Evaluate on other images.")
    return replace(dataset, samples=kept), len(dataset) - len(kept)


def _calibration_hashes(target: Opened) -> set[str]:
    if target.card is None or "calibration" not in target.card.recipe:
        return set()
    manifest = target.path.with_name(f"{target.path.name.removesuffix('.onnx')}.calibration.json")
    try:
        return {entry["sha256"] for entry in json.loads(manifest.read_text())}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"'{manifest}' is not a calibration manifest: {error}. Build the engine anew.") from error


def _checked_card(path: str) -> Card | None:
    file = Path(split_target(path).path)
    if file.suffix == ".onnx":
        read_model(file)  # refuses what must not reach a runtime
    return read_card(file) if file.is_file() else None


def _pipeline(paths: Sequence[str], cards: Sequence[Card | None], preset: str | None) -> Pipeline:
    if preset is not None:
        return find_preset(preset)
    declared = {
        path: Pipeline.from_mapping(card.preset)
        for path, card in zip(paths, cards, strict=True)
        if card is not None and card.preset
    }
    if not declared:
        return find_preset(DEFAULT_PRESET)
    if len({pipeline.fingerprint for pipeline in declared.values()}) > 1:
        listed = ", ".join(f"{path}: {pipeline.name}" for path, pipeline in declared.items())
        raise InputError(f"The targets declare different preprocessing ({listed}). Pass --preset, or run them apart.")
    return next(iter(declared.values()))


def _names(paths: Sequence[str]) -> list[str]:
    """Give each target its file's stem and the backend it names, with its folder where two are equal."""
    split = [split_target(path) for path in paths]
    stems = [Path(path).name.removesuffix(".onnx") + (f" ({backend})" if backend else "") for backend, path in split]
    names = [
        stem if stems.count(stem) == 1 else f"{Path(path).parent.name}/{stem}"
        for (_, path), stem in zip(split, stems, strict=True)
    ]
    if len(set(names)) != len(names):
        raise InputError(f"Expected different targets, got {', '.join(paths)}. Name each file once.")
    return names


def _opened(path: Path, engine: Engine, card: Card | None, name: str, pipeline: Pipeline, batch: int) -> Opened:
    spec = engine.spec
    fitted = replace(pipeline.for_size(spec.height, spec.width), layout=spec.layout, dtype=spec.dtype)
    batch = spec.fixed_batch or batch
    images = np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, 3), dtype=np.uint8)
    tested = self_test(engine, fitted.tensor(images))
    provenance = engine.provenance()
    identity = {key: provenance[key] for key in ("kind", "version", "providers", "optimization")}
    target = Target(
        name=name,
        engine=engine,
        pipeline=fitted,
        identity={"name": name, "sha256": sha256_file(path), **identity},
        batch=batch,
        pad=spec.fixed_batch is not None or not tested.batch_invariant,
    )
    precision = card.precision if card is not None else "unknown"
    return Opened(target=target, path=path, card=card, precision=precision, selftest=tested)


def _check_alike(found: Sequence[Opened]) -> None:
    first = found[0]
    for other in found[1:]:
        ours, theirs = first.target.engine.spec, other.target.engine.spec
        if (ours.height, ours.width, ours.classes) != (theirs.height, theirs.width, theirs.classes):
            raise InputError(
                f"'{first.target.name}' takes {ours.height}x{ours.width} and gives {ours.classes} classes, "
                f"'{other.target.name}' {theirs.height}x{theirs.width} and {theirs.classes}. "
                "Engines of one run must answer the same images: run them apart."
            )
