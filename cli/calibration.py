"""The calibration of a build: its images, the ranges observed on them or read from a file, and what is saved."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from .. import assets
from ..calib.cache_formats import read_ranges
from ..calib.calibrate import choose, plan_of, see
from ..calib.graph import fixed_batch
from ..calib.observe import Plan
from ..calib.seen import Seen
from ..core.errors import InputError
from ..core.files import sha256_bytes, write_json
from ..core.provenance import available_cores
from ..core.ranges import RangeTable
from ..evaluate.finished_cells import FinishedCells
from ..export.onnx_file import serialize
from ..inputs.dataset import Dataset
from ..inputs.loader import stream_images
from ..inputs.pipeline import Pipeline
from ..inputs.sources import open_dataset
from .output import folder
from .progress import Progress
from .request import BuildRequest

_BATCH = 8
_PART = 512  # images
_KEPT = "calibration.cells"


class CalibrationImages:
    """The calibration images, streamed anew at every pass, with the ones that can't be decoded by name."""

    def __init__(self, dataset: Dataset, pipeline: Pipeline) -> None:
        self.dataset, self.pipeline = dataset, pipeline
        self.failures: dict[str, str] = {}

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """Give the images as the model takes them, a few at a time."""
        for loaded in stream_images(self.dataset, self.pipeline, batch=_BATCH, threads=available_cores()):
            self.failures.update({failure.sample.name: failure.reason for failure in loaded.failures})
            if len(loaded.images):
                yield self.pipeline.tensor(loaded.images)

    def parts(self, size: int) -> list[CalibrationImages]:
        """Give the images by so many, in their order."""
        samples = self.dataset.samples
        starts = range(0, len(samples), size)
        return [
            CalibrationImages(replace(self.dataset, samples=samples[start : start + size]), self.pipeline)
            for start in starts
        ]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The ranges of a build.

    Attributes:
        tables: Ranges chosen for each width of activations; every width of the build is there.
        images: The images; None where a file's ranges take their place.
        source: What the card says of a file the ranges were read from, as JSON data; empty where they were observed.
        notes: What the user should know.
    """

    tables: Mapping[int, RangeTable]
    images: CalibrationImages | None
    source: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def open_images(request: BuildRequest, pipeline: Pipeline) -> CalibrationImages | None:
    """Open the calibration images; None where saved ranges take their place, or nothing is calibrated."""
    if request.calib is None and (request.ranges is not None or not request.recipe.calibrated):
        return None
    source = assets.images_dir("calib") if request.calib is None else request.calib
    dataset = open_dataset(source, unlabelled=True)
    return CalibrationImages(dataset.subset(min(request.calib_size, len(dataset)), request.seed), pipeline)


def find_ranges(
    request: BuildRequest,
    model: ModelProto,
    images: CalibrationImages | None,
    widths: Sequence[int],
    progress: Progress,
) -> Calibration:
    """Give the ranges for every width of activations, observed or read.

    Args:
        request: What is built.
        model: The float model whose activations count, equalised and smoothed if it is to be.
        images: The calibration images.
        widths: Bits of activations in this build; 8 is added.
        progress: Shows how far it is.

    Raises:
        InputError: If an image, the method or the file cannot be used, or the file was made from another model.
    """
    if request.ranges is not None:
        return _read(request, model, images, sorted({8, *widths}))
    assert images is not None
    return _observed(request, model, images, sorted({8, *widths}), progress)


def drop_parts(request: BuildRequest) -> None:
    """Remove the finished parts of a calibration, which a build that ended well needs no more."""
    shutil.rmtree(request.output / _KEPT, ignore_errors=True)


def save_calibration(table: RangeTable, calibration: Calibration, engine: Path) -> dict[str, Any]:
    """Save ranges and image list beside the engine's file; give what the card says of them."""
    path = engine.with_suffix(".ranges.json")
    table.save(path)
    if calibration.images is not None:
        manifest = [{"name": name, "sha256": sha256} for name, _, sha256 in calibration.images.dataset.manifest]
        write_json(engine.with_suffix(".calibration.json"), manifest)
    return {
        "method": table.method,
        "images": table.images,
        "preset": table.preset,
        "data_sha256": table.data_sha256,
        "ranges": path.name,
        **calibration.source,
    }


def _observed(
    request: BuildRequest, model: ModelProto, images: CalibrationImages, widths: Sequence[int], progress: Progress
) -> Calibration:
    """Calibrate for all widths in one pass: what is best for 256 levels is too wide for 16."""
    count = len(images.dataset)
    progress.stage(f"Calibrating with {count} images ({request.method}{'' if widths == [8] else ', mse below 8 bits'})")
    methods = {width: request.method if width == 8 else f"mse:{width}" for width in widths}
    wanted = list(dict.fromkeys(methods.values()))
    found = choose(model, _seen(request, model, images, plan_of(model, wanted), progress), wanted)
    for name, reason in images.failures.items():
        progress.stage(f"Left out of calibration: {name}: {reason}")
    base = RangeTable(
        method=request.method,
        images=count - len(images.failures),
        model_sha256=sha256_bytes(serialize(model)),
        data_sha256=images.dataset.manifest_sha256,
        preset=request.preset,
        ranges={},
    )
    tables = {width: replace(base, ranges=found[method]) for width, method in methods.items()}
    return Calibration(tables=tables, images=images, source={})


def _seen(request: BuildRequest, model: ModelProto, images: CalibrationImages, plan: Plan, progress: Progress) -> Seen:
    """Run the images through the model part by part; where there are several, finished ones are kept."""
    size, count = max(1, fixed_batch(model)), len(images.dataset)
    parts = images.parts(max(1, _PART // size) * size)  # whole batches, as the model may be fixed to
    kept = FinishedCells(folder(request.output / _KEPT) if len(parts) > 1 else None)
    common = {
        "study": "calibration",
        "model": sha256_bytes(serialize(model)),
        "pipeline": images.pipeline.to_json(),
        "tensors": plan.tensors,
        "counted": sorted(plan.counted),
    }
    seen, done = Seen(tensors={}, flat=True), 0
    for part in parts:
        cell = {**common, "images": part.dataset.manifest_sha256}
        if (found := kept.find(cell)) is not None:
            part.failures, one = found["failures"], Seen.from_json(found["seen"])
        else:
            one = see(
                model,
                part.batches(),
                plan,
                threads=request.threads,
                progress=lambda finished: progress(finished, count),
                first=done,
            )
            kept.keep(cell, {"failures": part.failures, "seen": one.to_json()})
        images.failures |= part.failures
        done += len(part.dataset) - len(part.failures)
        seen = seen.merge(one)
    if kept.folder is not None:
        progress.stage(kept.summary())
    return seen


def _read(
    request: BuildRequest, model: ModelProto, images: CalibrationImages | None, widths: Sequence[int]
) -> Calibration:
    """Read ranges of any known format; what they were chosen for is the file's business."""
    assert request.ranges is not None
    found = read_ranges(request.ranges)
    expected, table = sha256_bytes(serialize(model)), found.table
    if table.model_sha256 and table.model_sha256 != expected:
        raise InputError(
            f"The ranges in '{request.ranges}' were observed on another model: expected sha256 {expected[:12]}, got "
            f"{table.model_sha256[:12]}. Calibrate this model, with the same --equalise and --smooth."
        )
    remedies = request.recipe.remedies
    if not table.model_sha256 and (remedies.equalise or remedies.smooth is not None):
        raise InputError(
            f"The ranges in '{request.ranges}' ({found.format}) are those of the model as it was; equalised or "
            "smoothed it has others. Calibrate it with --calib DIR instead."
        )
    notes = [] if table.model_sha256 else [f"ranges from a {found.format} file, which does not say of which model"]
    notes += ["the file keeps one magnitude a tensor; the ranges are its mirror images"] if found.symmetric else []
    given = replace(table, model_sha256=expected)
    source = {"ranges_from": request.ranges.name, "format": found.format}
    return Calibration(tables=dict.fromkeys(widths, given), images=images, source=source, notes=tuple(notes))
