"""The sequence of a build: read, prepare, calibrate, quantize, audit; its files appear together or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from .. import assets
from ..calib.calibrate import calibrate
from ..calib.catalog import find_method
from ..core.artifact import Card, card_path, write_card
from ..core.errors import InputError, ThresholdError, UnsupportedError
from ..core.files import sha256_file, staging, write_json
from ..core.precision import Precision
from ..core.provenance import available_cores, package_versions
from ..core.ranges import RangeTable
from ..engines.audit import Audit
from ..engines.catalog import open_engine
from ..engines.protocol import Engine
from ..export.onnx_file import read_model, write_model
from ..export.prepare import prepare
from ..export.profiles import PROFILES
from ..export.qdq import quantize
from ..export.signature import classifier_signature
from ..inputs.catalog import find_preset
from ..inputs.dataset import Dataset
from ..inputs.loader import stream_images
from ..inputs.pipeline import Pipeline
from ..inputs.sources import open_dataset
from .progress import Progress

TARGETS = ("onnxruntime",)
W8A8 = Precision(weights=8, activations=8)
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What is to be built.

    Attributes:
        model: ONNX file, ``module:callable``, ``torchvision:NAME`` or ``timm:NAME``; None is the embedded model.
        precision: The grid of weights and activations.
        calib: Calibration images; None is the embedded ones, for the embedded model only.
        calib_size: Number of images drawn from them; all if there are fewer.
        method: Calibrator.
        preset: Preprocessing, a preset's name or a TOML file.
        target: Runtime the engine is for.
        output: Folder for the files.
        ranges: A saved range table to use instead of calibrating.
        require_integer: Least integer coverage, or None.
        size: Height and width of a PyTorch model's input, where it can't be known.
        weights: State dict of a PyTorch model.
        seed: Seed of the draw of calibration images.
        threads: Threads of the runtime.
    """

    model: str | None = None
    precision: Precision = W8A8
    calib: Path | None = None
    calib_size: int = 128
    method: str = "minmax"
    preset: str = "torchvision"
    target: str = "onnxruntime"
    output: Path = Path("robustmq-engines")
    ranges: Path | None = None
    require_integer: float | None = None
    size: tuple[int, int] | None = None
    weights: Path | None = None
    seed: int = 0
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class Built:
    """What came of it.

    Attributes:
        path: The integer model.
        reference: The cleaned float model it was made from.
        card: The integer model's card.
        audit: What its layers run in.
        notes: What the user should know.
    """

    path: Path
    reference: Path
    card: Card
    audit: Audit
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the result as JSON data."""
        return {
            "path": str(self.path),
            "sha256": self.card.sha256,
            "size_bytes": self.card.size_bytes,
            "precision": self.card.precision,
            "integer_coverage": self.audit.integer_coverage,
            "layers_float": len(self.audit.float_layers),
            "calibration": self.card.recipe["calibration"],
            "reference": str(self.reference),
            "reference_size_bytes": self.reference.stat().st_size,
            "card": str(card_path(self.path)),
            "preset": dict(self.card.preset),
            "notes": list(self.notes),
        }


def build(request: BuildRequest, progress: Progress) -> Built:
    """Build an integer engine; files appear in ``request.output`` only if every step succeeded.

    Raises:
        InputError: If the model, the images or a setting cannot be used.
        UnsupportedError: If this version cannot build what is asked for.
        RefusedError: If the model's external data reaches outside its folder.
        ThresholdError: If the integer coverage is below ``request.require_integer``.
    """
    _check(request)
    progress.stage(f"Reading {request.model or 'the embedded model'}")
    source, notes = _source_model(request)
    prepared = prepare(source)
    signature = classifier_signature(prepared.model)
    pipeline = _fitted(find_preset(request.preset), signature.height, signature.width, signature.layout)
    stem = _stem(request.model)
    with staging(request.output) as folder:
        reference = folder / f"{stem}.fp32.onnx"
        write_model(prepared.model, reference)
        table, calibration = _ranges(request, prepared.model, sha256_file(reference), pipeline, folder, stem, progress)
        progress.stage(f"Quantizing to {request.precision}")
        path = folder / f"{stem}.{request.precision}.onnx"
        write_model(quantize(prepared.model, table, precision=str(request.precision)), path)
        with _opened(path, request.threads) as engine:
            audit = engine.audit()
        _require(audit, request.require_integer)
        parents = {"model": sha256_file(reference), "calibration": table.data_sha256}
        _write_card(reference, "float", "fp32", {}, {"source": request.model or "embedded"}, pipeline, {})
        recipe = {
            "calibration": calibration,
            "target": request.target,
            "profile": next(iter(PROFILES)),
            "seed": request.seed,
            "source": request.model or "embedded",
        }
        summary = {key: value for key, value in audit.to_json().items() if key not in ("layers", "float_operators")}
        card = _write_card(path, "qdq", str(request.precision), parents, recipe, pipeline, summary)
    progress.close()
    return Built(
        path=request.output / path.name,
        reference=request.output / reference.name,
        card=card,
        audit=audit,
        notes=(*notes, *prepared.notes, *audit.notes),
    )


def _check(request: BuildRequest) -> None:
    find_method(request.method)
    if request.target not in TARGETS:
        raise UnsupportedError(
            f"Target {request.target!r} cannot be built for in this version. Available: {', '.join(TARGETS)}."
        )
    available = sorted({profile.precision for profile in PROFILES.values()})
    if str(request.precision) not in available:
        raise UnsupportedError(
            f"Precision '{request.precision}' cannot be built in this version. Available: {', '.join(available)}."
        )
    if request.model is not None and request.calib is None and request.ranges is None:
        raise InputError("A model of your own needs calibration images: pass --calib DIR, or --ranges FILE.")


def _source_model(request: BuildRequest) -> tuple[ModelProto, tuple[str, ...]]:
    if request.model is None:
        return read_model(assets.model_path()), ()
    if _is_torch(request.model):
        from ..export.torch_model import export_torch

        exported = export_torch(request.model, size=request.size, weights=request.weights)
        parity = exported.parity
        note = (
            f"exported from {request.model}: max |logit difference| {parity.max_abs_difference:.2g} of "
            f"{parity.scale:.3g}, same top class on {parity.top1_agreement:.0%} of {parity.images} random images"
        )
        return exported.model, (note,)
    return read_model(Path(request.model)), ()


def _is_torch(model: str) -> bool:
    return ":" in model and not model.endswith(".onnx") and not Path(model).exists()


def _stem(model: str | None) -> str:
    if model is None:
        return "embedded"
    name = Path(model).name.removesuffix(".onnx").removesuffix(".fp32").removesuffix("_float")
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)


def _fitted(preset: Pipeline, height: int, width: int, layout: str) -> Pipeline:
    return replace(preset.for_size(height, width), layout=layout)


def _ranges(
    request: BuildRequest,
    model: ModelProto,
    model_sha256: str,
    pipeline: Pipeline,
    folder: Path,
    stem: str,
    progress: Progress,
) -> tuple[RangeTable, dict[str, Any]]:
    """Give the ranges, calibrated or read, and what the card says of them; both are saved beside the model."""
    if request.ranges is not None:
        table = RangeTable.load(request.ranges)
        if table.model_sha256 != model_sha256:
            raise InputError(
                f"The ranges in '{request.ranges}' were observed on another model: expected sha256 "
                f"{model_sha256[:12]}, got {table.model_sha256[:12]}. Calibrate this model."
            )
    else:
        dataset = _calibration_images(request)
        table = _calibrated(request, model, model_sha256, pipeline, dataset, progress)
        manifest = [{"name": name, "sha256": sha256} for name, _, sha256 in dataset.manifest]
        write_json(folder / f"{stem}.{request.precision}.calibration.json", manifest)
    name = f"{stem}.{request.precision}.ranges.json"
    table.save(folder / name)
    return table, {
        "method": table.method,
        "images": table.images,
        "preset": table.preset,
        "data_sha256": table.data_sha256,
        "ranges": name,
    }


def _calibration_images(request: BuildRequest) -> Dataset:
    folder = assets.images_dir("calib") if request.calib is None else request.calib
    dataset = open_dataset(folder, unlabelled=True)
    return dataset.subset(min(request.calib_size, len(dataset)), request.seed)


def _calibrated(
    request: BuildRequest,
    model: ModelProto,
    model_sha256: str,
    pipeline: Pipeline,
    dataset: Dataset,
    progress: Progress,
) -> RangeTable:
    progress.stage(f"Calibrating with {len(dataset)} images ({request.method})")
    failures: dict[str, str] = {}

    def batches() -> Iterator[NDArray[np.float32]]:
        for loaded in stream_images(dataset, pipeline, batch=_BATCH, threads=available_cores()):
            failures.update({failure.sample.name: failure.reason for failure in loaded.failures})
            if len(loaded.images):
                yield pipeline.tensor(loaded.images)

    found = calibrate(
        model, batches, methods=[request.method], threads=request.threads, progress=progress, images=len(dataset)
    )
    for name, reason in failures.items():
        progress.stage(f"Left out of calibration: {name}: {reason}")
    return RangeTable(
        method=request.method,
        images=len(dataset) - len(failures),
        model_sha256=model_sha256,
        data_sha256=dataset.manifest_sha256,
        preset=pipeline.name,
        ranges=found[request.method],
    )


def _require(audit: Audit, least: float | None) -> None:
    if least is not None and audit.integer_coverage < least:
        worst = "; ".join(f"{layer.name}: {layer.reason}" for layer in audit.float_layers[:3])
        raise ThresholdError(
            f"Integer coverage is {audit.integer_coverage:.4f}, below the required {least:.4f} ({worst}). "
            "Nothing was written. Run `audit` on a build without --require-integer for the whole table."
        )


@contextmanager
def _opened(path: Path, threads: int | None) -> Iterator[Engine]:
    engine = open_engine(str(path), threads=threads)
    try:
        yield engine
    finally:
        engine.close()


def _write_card(
    path: Path,
    kind: str,
    precision: str,
    parents: dict[str, str],
    recipe: dict[str, Any],
    pipeline: Pipeline,
    audit: dict[str, Any],
) -> Card:
    card = Card(
        file=path.name,
        sha256=sha256_file(path),
        size_bytes=path.stat().st_size,
        kind=kind,
        precision=precision,
        parents=parents,
        recipe=recipe,
        preset=pipeline.to_json(),
        audit=audit,
        tools=package_versions(),
    )
    write_card(path, card)
    return card
