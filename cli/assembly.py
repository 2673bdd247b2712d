"""The sequence of a build: read, prepare, calibrate, quantize, audit; its files appear together or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from .. import assets
from ..calib.calibrate import calibrate
from ..calib.catalog import find_method
from ..core.artifact import Card, write_card
from ..core.errors import InputError, ThresholdError, UnsupportedError, unknown
from ..core.files import sha256_file, staging, write_json
from ..core.provenance import available_cores, package_versions
from ..core.ranges import RangeTable
from ..engines.audit import Audit
from ..engines.catalog import open_engine
from ..engines.protocol import Engine
from ..export.equality import prove_equal
from ..export.lint import lint
from ..export.lower import lower
from ..export.onnx_file import read_model, write_model
from ..export.prepare import prepare
from ..export.profiles import find_profile
from ..export.qdq import quantize
from ..export.signature import Signature, classifier_signature
from ..inputs.catalog import find_preset
from ..inputs.dataset import Dataset
from ..inputs.loader import stream_images
from ..inputs.pipeline import Pipeline
from ..inputs.sources import open_dataset
from .narrow import ROUNDINGS, narrowed
from .progress import Progress
from .request import W8A8, BuildRequest, Built

TARGETS = ("onnxruntime",)
NATIVE_PROFILE = "cpu-u8"  # what ONNX Runtime runs as it is; other profiles are lowered for it
_PROOF_IMAGES = 4
_BATCH = 8


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
        images = _images(request, pipeline)
        table = _ranges(request, prepared.model, sha256_file(reference), images, progress)
        progress.stage(f"Quantizing to {request.recipe.precision}, profile {request.profile}")
        path = folder / f"{stem}.{request.recipe.precision}.onnx"
        canonical = path.with_suffix(f".{request.profile}.onnx") if request.profile != NATIVE_PROFILE else None
        quantized, table = _quantized(request, prepared.model, table, images, progress)
        calibration = _save_calibration(table, images, path)
        if canonical is not None:
            write_model(quantized, canonical)
            lowered = lower(quantized)
            prove_equal(quantized, lowered.model, _proof_images(signature))
            quantized, notes = lowered.model, (*notes, *lowered.notes, *_lint_note(quantized, canonical.name))
        write_model(quantized, path)
        with _opened(path, request.threads) as engine:
            audit = engine.audit()
        _require(audit, request.require_integer)
        parents = {"model": sha256_file(reference), "calibration": table.data_sha256}
        _write_card(reference, "float", "fp32", {}, {"source": request.model or "embedded"}, pipeline, {})
        recipe = {
            "calibration": calibration,
            "target": request.target,
            "profile": request.profile,
            "grid": request.recipe.describe(),
            "rounding": request.rounding,
            "seed": request.seed,
            "source": request.model or "embedded",
        }
        summary = {key: value for key, value in audit.to_json().items() if key not in ("layers", "float_operators")}
        precision = str(request.recipe.precision)
        card = _write_card(path, "qdq", precision, parents, recipe, pipeline, summary)
        if canonical is not None:
            _write_card(canonical, "qdq", precision, parents, recipe, pipeline, {})
    progress.close()
    return Built(
        path=request.output / path.name,
        canonical=None if canonical is None else request.output / canonical.name,
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
    find_profile(request.profile)
    if request.rounding not in ROUNDINGS:
        raise unknown("rounding", request.rounding, ROUNDINGS)
    if request.model is not None and request.calib is None and request.ranges is None:
        raise InputError("A model of your own needs calibration images: pass --calib DIR, or --ranges FILE.")


def _source_model(request: BuildRequest) -> tuple[ModelProto, tuple[str, ...]]:
    if request.model is None:
        return read_model(assets.model_path()), ()
    if _is_torch(request.model):
        from ..export.torch_model import export_torch

        exported = export_torch(request.model, size=request.size, weights=request.state_dict)
        parity = exported.parity
        note = (
            f"exported from {request.model}: max |logit difference| {parity.max_abs_difference:.2g} of "
            f"{parity.scale:.3g}, same top class on {parity.top1_agreement:.0%} of {parity.images} random images"
        )
        return exported.model, (note,)
    return read_model(Path(request.model)), ()


def _quantized(
    request: BuildRequest, model: ModelProto, table: RangeTable, images: _Images | None, progress: Progress
) -> tuple[ModelProto, RangeTable]:
    eight = quantize(model, table, profile=request.profile, keep_float=request.recipe.float_layers)
    if request.recipe.precision == W8A8.precision and all(rule.keep_float for rule in request.recipe.layers.values()):
        return eight, table
    return narrowed(
        eight,
        model,
        table,
        recipe=request.recipe,
        rounding=request.rounding,
        batches=None if images is None else images.batches,
        threads=request.threads,
        progress=progress,
    )


def _lint_note(canonical: ModelProto, name: str) -> tuple[str, ...]:
    found = lint(canonical)
    if not found:
        return ()
    return (f"{name}: {len(found)} findings of the TensorRT linter, first: {found[0].message}; see `lint`",)


def _proof_images(signature: Signature) -> NDArray[np.float32]:
    """Give images for the proof that two files compute the same: noise reaches every clip on both sides."""
    sides = (signature.height, signature.width)
    shape = (3, *sides) if signature.layout == "nchw" else (*sides, 3)
    return np.random.default_rng(0).normal(0, 2, (_PROOF_IMAGES, *shape)).astype(np.float32)


def _is_torch(model: str) -> bool:
    return ":" in model and not model.endswith(".onnx") and not Path(model).exists()


def _stem(model: str | None) -> str:
    if model is None:
        return "embedded"
    name = Path(model).name.removesuffix(".onnx").removesuffix(".fp32").removesuffix("_float")
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)


def _fitted(preset: Pipeline, height: int, width: int, layout: str) -> Pipeline:
    return replace(preset.for_size(height, width), layout=layout)


class _Images:
    """The calibration images, streamed anew at every pass, with the ones that can't be decoded by name."""

    def __init__(self, dataset: Dataset, pipeline: Pipeline) -> None:
        self.dataset, self._pipeline = dataset, pipeline
        self.failures: dict[str, str] = {}

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """Give the images as the model takes them, a few at a time."""
        for loaded in stream_images(self.dataset, self._pipeline, batch=_BATCH, threads=available_cores()):
            self.failures.update({failure.sample.name: failure.reason for failure in loaded.failures})
            if len(loaded.images):
                yield self._pipeline.tensor(loaded.images)


def _images(request: BuildRequest, pipeline: Pipeline) -> _Images | None:
    """Open the calibration images; None where saved ranges take their place."""
    if request.ranges is not None:
        return None
    folder = assets.images_dir("calib") if request.calib is None else request.calib
    dataset = open_dataset(folder, unlabelled=True)
    return _Images(dataset.subset(min(request.calib_size, len(dataset)), request.seed), pipeline)


def _ranges(
    request: BuildRequest, model: ModelProto, model_sha256: str, images: _Images | None, progress: Progress
) -> RangeTable:
    """Give the 8-bit ranges, calibrated or read."""
    if images is None:
        assert request.ranges is not None
        table = RangeTable.load(request.ranges)
        if table.model_sha256 != model_sha256:
            raise InputError(
                f"The ranges in '{request.ranges}' were observed on another model: expected sha256 "
                f"{model_sha256[:12]}, got {table.model_sha256[:12]}. Calibrate this model."
            )
        return table
    count = len(images.dataset)
    progress.stage(f"Calibrating with {count} images ({request.method})")
    found = calibrate(
        model, images.batches, methods=[request.method], threads=request.threads, progress=progress, images=count
    )
    for name, reason in images.failures.items():
        progress.stage(f"Left out of calibration: {name}: {reason}")
    return RangeTable(
        method=request.method,
        images=count - len(images.failures),
        model_sha256=model_sha256,
        data_sha256=images.dataset.manifest_sha256,
        preset=request.preset,
        ranges=found[request.method],
    )


def _save_calibration(table: RangeTable, images: _Images | None, engine: Path) -> dict[str, Any]:
    """Save ranges and image list beside the engine's file; give what the card says of them."""
    path = engine.with_suffix(".ranges.json")
    table.save(path)
    if images is not None:
        manifest = [{"name": name, "sha256": sha256} for name, _, sha256 in images.dataset.manifest]
        write_json(engine.with_suffix(".calibration.json"), manifest)
    return {
        "method": table.method,
        "images": table.images,
        "preset": table.preset,
        "data_sha256": table.data_sha256,
        "ranges": path.name,
    }


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
