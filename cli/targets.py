"""Opening the engines of a run, with the preprocessing their cards declare and the images they must not see."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.artifact import Card, read_card
from ..core.errors import EngineError, InputError
from ..core.files import sha256_file
from ..core.manifest import Manifest
from ..engines.catalog import is_url, split_target
from ..engines.protocol import Engine
from ..engines.selftest import SelfTest, self_test
from ..evaluate.target import Target
from ..evaluate.vendor import fit
from ..inputs.catalog import find_preset
from ..inputs.dataset import Dataset
from ..inputs.pipeline import Pipeline
from .isolation import Door
from .manifest import with_manifest

DEFAULT_PRESET = "torchvision"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """One engine, ready to be evaluated.

    Attributes:
        target: The engine with its pipeline.
        path: Its file; None where it is a server.
        card: Its card, or None.
        precision: From the card, else read off the file.
        selftest: How its answers depend on batch and repetition; or the failure, if it did not answer.
    """

    target: Target
    path: Path | None
    card: Card | None
    precision: str
    selftest: SelfTest | EngineError

    def to_json(self, *, reference: bool, integer_coverage: float | None) -> dict[str, Any]:
        """Give the engine as the report's JSON data."""
        provenance = self.target.engine.provenance()
        return {
            "name": self.target.name,
            "file": str(provenance["address"]) if self.path is None else self.path.name,
            "sha256": str(self.target.identity["sha256"]),
            "precision": self.precision,
            "size_bytes": 0 if self.path is None else self.path.stat().st_size,
            "integer_coverage": integer_coverage,
            "role": "reference" if reference else "candidate",
            "engine": f"{provenance['kind']} {provenance['version']} ({', '.join(provenance['providers'])})",
        }


@contextmanager
def opened_targets(
    paths: Sequence[str], *, preset: str | None, threads: int | None, batch: int, door: Door | None = None
) -> Iterator[list[Opened]]:
    """Open every engine, run its self-test, and close them all at the end.

    One that opens and then fails its self-test stays among the others: it is asked again in each of its cells.

    Raises:
        InputError: If a file cannot be opened, or the engines disagree on preprocessing or classes.
        EngineError: If every engine fails its self-test.
    """
    door = door or Door()
    sources = _sources(paths, door)
    pipelines = _pipelines(sources, preset)
    names = _names([source.target for source in sources])
    with ExitStack() as stack:
        found = []
        for source, pipeline, name in zip(sources, pipelines, names, strict=True):
            engine = door.open(source.target, threads=threads)
            stack.callback(engine.close)
            found.append(_opened(source, engine, name, pipeline, batch))
        _check_alike(found)
        failures = [opened.selftest for opened in found if isinstance(opened.selftest, EngineError)]
        if len(failures) == len(found):
            raise failures[0]
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
    if target.path is None or target.card is None or "calibration" not in target.card.recipe:
        return set()
    manifest = target.path.with_name(f"{target.path.name.removesuffix('.onnx')}.calibration.json")
    try:
        return {entry["sha256"] for entry in json.loads(manifest.read_text())}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"'{manifest}' is not a calibration manifest: {error}. Build the engine anew.") from error


def target_file(target: str) -> Path | None:
    """Give a target's file, or None where it is a server."""
    path = split_target(target).path
    return None if is_url(path) else Path(path)


def _checked_card(path: str, door: Door) -> Card | None:
    file = target_file(path)
    door.check(file)
    return read_card(file) if file is not None and file.is_file() else None


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A target before it is opened: its name for the catalog, its file, and what lies beside it."""

    target: str
    file: Path | None
    card: Card | None
    manifest: Manifest | None

    @property
    def preset(self) -> Pipeline | None:
        """The preset that the manifest or the card declares."""
        if self.manifest is not None and self.manifest.preset is not None:
            return find_preset(self.manifest.preset)
        return Pipeline.from_mapping(self.card.preset) if self.card is not None and self.card.preset else None


def _sources(paths: Sequence[str], door: Door) -> list[_Source]:
    found = [with_manifest(path) for path in paths]
    return [
        _Source(target=target, file=target_file(target), card=_checked_card(target, door), manifest=manifest)
        for target, manifest in found
    ]


def _pipelines(sources: Sequence[_Source], preset: str | None) -> list[Pipeline]:
    """Give each target its preset; all must cut the same pixels out of an image, each may normalise them its way.

    A target that declares nothing takes what the first one declares, if the others agree with it.
    """
    if preset is not None:
        return [find_preset(preset)] * len(sources)
    declared = {source.target: pipeline for source in sources if (pipeline := source.preset) is not None}
    shared = next(iter(declared.values()), find_preset(DEFAULT_PRESET))
    undeclared = len(declared) < len(sources)
    if len({pipeline.fingerprint if undeclared else _geometry(pipeline) for pipeline in declared.values()}) > 1:
        listed = ", ".join(f"{target}: {pipeline.name}" for target, pipeline in declared.items())
        raise InputError(f"The targets declare different preprocessing ({listed}). Pass --preset, or run them apart.")
    return [declared.get(source.target, shared) for source in sources]


def _geometry(pipeline: Pipeline) -> str:
    return find_preset(DEFAULT_PRESET).with_geometry_of(pipeline).fingerprint


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


def _opened(source: _Source, opened: Engine, name: str, pipeline: Pipeline, batch: int) -> Opened:
    path, card = source.file, source.card
    engine, fitted = fit(opened, pipeline, source.manifest)
    spec = engine.spec
    batch = spec.fixed_batch or batch
    images = np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, 3), dtype=np.uint8)
    tested = _tested(engine, fitted.tensor(images))
    provenance = engine.provenance()
    identity = {key: provenance[key] for key in ("kind", "version", "providers", "optimization")}
    if libraries := provenance.get("custom_ops_sha256"):
        identity["custom_ops"] = libraries
    if source.manifest is not None:
        identity["manifest"] = source.manifest.sha256
    target = Target(
        name=name,
        engine=engine,
        pipeline=fitted,
        identity={
            "name": name,
            "sha256": provenance["served_sha256"] if path is None else sha256_file(path),
            **identity,
        },
        batch=batch,
        pad=spec.fixed_batch is not None or isinstance(tested, EngineError) or not tested.batch_invariant,
    )
    precision = card.precision if card is not None else "unknown"
    return Opened(target=target, path=path, card=card, precision=precision, selftest=tested)


def _tested(engine: Engine, batch: NDArray[Any]) -> SelfTest | EngineError:
    try:
        return self_test(engine, batch)
    except EngineError as failure:
        hint = " It answers single images: pass `--batch 1`." if _answers_one(engine, batch) else ""
        return EngineError(f"{failure}{hint}")


def _answers_one(engine: Engine, batch: NDArray[Any]) -> bool:
    """Tell whether an engine that failed on several images answers one."""
    if len(batch) == 1 or engine.spec.fixed_batch:
        return False
    try:
        engine.infer(batch[:1])
    except EngineError:
        return False
    return True


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
