"""The sequence of a build: read, change, calibrate, quantize, audit; its files appear together or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ..calib.catalog import find_method
from ..calib.equalise import equalise
from ..calib.smoothquant import smooth
from ..core.artifact import Card, write_card
from ..core.errors import InputError, ThresholdError, UnsupportedError
from ..core.files import sha256_file, staging
from ..core.provenance import package_versions
from ..core.remedies import Remedies
from ..engines.audit import Audit
from ..engines.catalog import open_engine
from ..engines.protocol import Engine
from ..export.equality import prove_equal
from ..export.lint import lint
from ..export.onnx_file import write_model
from ..export.profiles import NATIVE, TENSORRT, find_profile
from ..export.signature import Signature
from ..inputs.pipeline import Pipeline
from .blocks import gridless_maker
from .calibration import Calibration, CalibrationImages, drop_parts, find_ranges, open_images, save_calibration
from .grids import Made, Make, activation_widths, grid_maker
from .progress import Progress
from .request import BuildRequest, Built
from .search import Kept, SearchContext, find_layers
from .source import Source, read_source
from .wide import wide_maker

TARGETS = ("onnxruntime",)
_PROOF_IMAGES = 4


def build(request: BuildRequest, progress: Progress) -> Built:
    """Build an integer engine; files appear in ``request.output`` only if every step succeeded.

    Only a calibration on more than 512 images keeps its finished parts there meanwhile, from which the same build goes
    on if it was killed.

    Raises:
        InputError: If the model, the images or a setting cannot be used.
        UnsupportedError: If this version cannot build what is asked for.
        RefusedError: If the model's external data reaches outside its folder.
        ThresholdError: If the integer coverage is below ``request.require_integer``, or no choice of float layers
            holds the accuracy that ``request.search`` asks for.
    """
    _check(request)
    source = read_source(request, progress)
    images = open_images(request, source.pipeline)
    with staging(request.output) as folder:
        reference = folder / f"{source.stem}.fp32.onnx"
        write_model(source.model, reference)
        model, notes = _changed(request.recipe.remedies, source.model, images, progress)
        make, calibration = _maker(request, model, images, progress)
        kept = _kept(request, source, make, images, progress)
        progress.stage(f"Quantizing to {request.recipe.precision}{_layout(request)}")
        made = make(kept.nodes)
        path = folder / f"{source.stem}.{request.recipe.precision}.onnx"
        canonical = _write(request, made, path, source.signature)
        with _opened(path, request.threads, simulate=request.recipe.precision.e4m3) as engine:
            audit = engine.audit()
        _require(audit, request.require_integer)
        settings = _settings(request, kept)
        if calibration is not None and made.table is not None:
            settings["calibration"] = save_calibration(made.table, calibration, path)
        card = _write_cards(request, source, settings, audit, (reference, path, canonical))
    drop_parts(request)
    progress.close()
    noted = (*source.notes, *notes, *(calibration.notes if calibration else ()), *kept.notes, *made.notes)
    return Built(
        path=request.output / path.name,
        canonical=None if canonical is None else request.output / canonical.name,
        reference=request.output / reference.name,
        card=card,
        audit=audit,
        notes=(*noted, *_lint_note(made, canonical), *audit.notes),
    )


def _check(request: BuildRequest) -> None:
    find_method(request.method)
    if request.target not in TARGETS:
        raise UnsupportedError(
            f"Target {request.target!r} cannot be built for in this version. Available: {', '.join(TARGETS)}."
        )
    find_profile(request.profile)
    recipe, own = request.recipe, request.model is not None
    if (not recipe.calibrated and request.ranges is not None) or (not recipe.on_grids and request.profile != NATIVE):
        raise InputError(
            f"Precision '{recipe.precision}' has no grid of 2..8 bits, so --profile {TENSORRT} says nothing about it, "
            "nor --ranges where activations stay in float. Leave them out."
        )
    if own and request.calib is None and request.ranges is None and recipe.calibrated:
        raise InputError("A model of your own needs calibration images: pass --calib DIR, or --ranges FILE.")
    if request.ranges is not None and request.calib is None and recipe.remedies.needs_images:
        raise InputError("--ranges FILE gives ranges, but a remedy asked for looks at images: pass --calib DIR too.")
    if own and request.search is not None and request.search.data is None:
        raise InputError("--keep-float auto needs labelled images of your model's classes: pass --data DIR.")


def _changed(
    remedies: Remedies, model: ModelProto, images: CalibrationImages | None, progress: Progress
) -> tuple[ModelProto, tuple[str, ...]]:
    """Give the float model with other weights and the same function, and what was done to it."""
    notes: list[str] = []
    if remedies.equalise:
        progress.stage("Equalising channels across layers")
        equalised = equalise(model)
        behind = f"; {len(equalised.skipped)} lie behind a Clip, whose bounds do not scale" if equalised.skipped else ""
        if not equalised.pairs:
            raise UnsupportedError(f"No two convolutions can be equalised{behind}. Leave --equalise out.")
        model, notes = equalised.model, [*notes, f"equalised {equalised.pairs} pairs of convolutions{behind}"]
    if remedies.smooth is not None:
        assert images is not None
        progress.stage(f"Smoothing activations (alpha {remedies.smooth:g})")
        smoothed = smooth(model, images.batches, alpha=remedies.smooth)
        if not smoothed.pairs:
            raise UnsupportedError("No LayerNormalization feeds only MatMuls with constants. Leave --smooth out.")
        model, notes = smoothed.model, [*notes, f"smoothed {len(smoothed.pairs)} LayerNormalizations"]
    return model, tuple(notes)


def _maker(
    request: BuildRequest, model: ModelProto, images: CalibrationImages | None, progress: Progress
) -> tuple[Make, Calibration | None]:
    """Give what builds the model for a set of float layers, and the calibration behind it."""
    if not request.recipe.calibrated:
        return gridless_maker(request.recipe, model), None
    if request.recipe.precision.is_wide:
        calibration = find_ranges(request, model, images, [8], progress)
        return wide_maker(request.recipe, model, calibration), calibration
    calibration = find_ranges(request, model, images, activation_widths(request.recipe), progress)
    return grid_maker(request, model, calibration, progress), calibration


def _kept(
    request: BuildRequest, source: Source, make: Make, images: CalibrationImages | None, progress: Progress
) -> Kept:
    if request.search is None:
        return Kept()
    context = SearchContext(pipeline=source.pipeline, seed=request.seed, threads=request.threads, progress=progress)
    return find_layers(request.search, source.model, make, context, images)


def _layout(request: BuildRequest) -> str:
    return f", profile {request.profile}" if request.recipe.on_grids else ""


def _write(request: BuildRequest, made: Made, path: Path, signature: Signature) -> Path | None:
    """Write the model's files; give the path of the one for TensorRT and OpenVINO."""
    write_model(made.native, path)
    if made.canonical is None:
        return None
    if request.recipe.on_grids:
        prove_equal(made.canonical, made.native, _proof_images(signature))
    canonical = path.with_suffix(f".{request.profile if request.recipe.on_grids else 'qdq'}.onnx")
    write_model(made.canonical, canonical)
    return canonical


def _settings(request: BuildRequest, kept: Kept) -> dict[str, Any]:
    recipe = request.recipe.keeping(kept.nodes)
    images = request.calib is not None or request.ranges is None
    settings = {
        "target": request.target,
        "grid": recipe.describe(),
        "remedies": recipe.remedies.for_width(narrow=recipe.narrow and recipe.on_grids, images=images).to_json(),
        "float_layers": list(recipe.float_layers),
        "seed": request.seed,
        "source": request.model or "embedded",
    }
    settings |= {"profile": request.profile} if recipe.on_grids else {}
    settings |= {"keep_float": kept.facts} if kept.facts else {}
    return settings


def _write_cards(
    request: BuildRequest,
    source: Source,
    settings: dict[str, Any],
    audit: Audit,
    paths: tuple[Path, Path, Path | None],
) -> Card:
    """Write the cards of all files; give that of the one ONNX Runtime runs."""
    reference, path, canonical = paths
    parents = {"model": sha256_file(reference)}
    if "calibration" in settings and settings["calibration"]["data_sha256"]:
        parents["calibration"] = settings["calibration"]["data_sha256"]
    if request.ranges is not None:
        parents["ranges"] = sha256_file(request.ranges)
    summary = {key: value for key, value in audit.to_json().items() if key not in ("layers", "float_operators")}
    precision = str(request.recipe.precision)
    _write_card(reference, "float", "fp32", {}, {"source": request.model or "embedded"}, source.pipeline, {})
    if canonical is not None:
        _write_card(canonical, "qdq", precision, parents, settings, source.pipeline, {})
    return _write_card(
        path, "float" if precision == "fp16" else "qdq", precision, parents, settings, source.pipeline, summary
    )


def _lint_note(made: Made, canonical: Path | None) -> tuple[str, ...]:
    found = [] if made.canonical is None or canonical is None else lint(made.canonical)
    if not found or canonical is None:
        return ()
    return (f"{canonical.name}: {len(found)} findings of the TensorRT linter, first: {found[0].message}; see `lint`",)


def _proof_images(signature: Signature) -> NDArray[np.float32]:
    """Give images for the proof that two files compute the same: noise reaches every clip on both sides."""
    sides = (signature.height, signature.width)
    shape = (3, *sides) if signature.layout == "nchw" else (*sides, 3)
    return np.random.default_rng(0).normal(0, 2, (_PROOF_IMAGES, *shape)).astype(np.float32)


def _require(audit: Audit, least: float | None) -> None:
    if least is not None and audit.integer_coverage < least:
        worst = "; ".join(f"{layer.name}: {layer.reason}" for layer in audit.float_layers[:3])
        raise ThresholdError(
            f"Integer coverage is {audit.integer_coverage:.4f}, below the required {least:.4f} ({worst}). "
            "Nothing was written. Run `audit` on a build without --require-integer for the whole table."
        )


@contextmanager
def _opened(path: Path, threads: int | None, *, simulate: bool) -> Iterator[Engine]:
    engine = open_engine(str(path), threads=threads, simulate=simulate)
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
