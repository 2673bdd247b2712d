"""Grids of 2-8 bits in int8 kernels: clean accuracy and integer coverage of ResNet20, remedy by remedy.

Claim: every grid runs fully in integer kernels and computes what its simulation computes; with the remedies w4a8 keeps
at least 80 %, w4a4 at least 77 %, w3a3 at least 60 % of CIFAR-10 images right. No speed-up is claimed: a 4-bit grid in
int8 kernels takes an integer Clip more than 8 bits do.

    ROBUSTMQ_DATA=... python benchmarks/bench_grids.py                                  # naive: nearest, min-max
    ROBUSTMQ_DATA=... python benchmarks/bench_grids.py --weights gptq --activations mse # remedies
    ROBUSTMQ_DATA=... python benchmarks/bench_grids.py --images 200 --precisions w4a4 --no-save

2000 test images, stored as JPEG; a seeded permutation gives 200 of them to calibration and the rest to the measurement.
Asserted before a row counts: every layer with weights is integer, and engine and simulation (the same file with
optimizations off) name the same class on all but 1 % of the images.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from robustmq_trt.calib.calibrate import calibrate
from robustmq_trt.core.codes import WeightCodes
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.precision import Precision
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.core.recipe import Recipe
from robustmq_trt.core.statistics import wilson
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.export.grid import activation_bits, to_grid
from robustmq_trt.export.grid_ranges import effective_ranges
from robustmq_trt.export.layer_bits import weight_bits
from robustmq_trt.export.onnx_file import read_model, write_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantize
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import stream_images
from robustmq_trt.inputs.sources import open_dataset

BATCH = 50
LARGEST_DISAGREEMENT = 0.01


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The net and its images, normalised, ready for the engine."""

    model: onnx.ModelProto
    model_sha256: str
    data_sha256: str
    calibration: NDArray[np.float32]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """Give the calibration images."""
        for start in range(0, len(self.calibration), BATCH):
            yield self.calibration[start : start + BATCH]


def main() -> None:
    options = parse()
    subject = load(options)
    widths = {Precision.parse(text).activations for text in options.precisions} | {8}
    tables = calibrated(subject, options.activations, sorted(widths))
    rows = [float_row(subject, options)]
    for text in options.precisions:
        recipe = Recipe(precision=Precision.parse(text), keep_ends=not options.low_ends)
        rows.append(measure(subject, recipe, tables, options))
        print(line(rows[-1]), flush=True)
    if not options.no_save:
        save(rows, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precisions", nargs="+", default=["w8a8", "w6a6", "w4a8", "w4a4", "w3a3", "w2a8"])
    parser.add_argument("--activations", default="minmax", help="calibration method of the activations below 8 bits")
    parser.add_argument("--weights", default="round", help="round, or a method of calib's choose_weights")
    parser.add_argument("--equalise", action="store_true", help="level the channels' weight ranges across layers first")
    parser.add_argument("--no-bias-correction", action="store_true")
    parser.add_argument("--no-compensation", action="store_true")
    parser.add_argument("--low-ends", action="store_true", help="first and last layer on few bits too")
    parser.add_argument("--images", type=int, default=1800)
    parser.add_argument("--calibration", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-save", action="store_true")
    return parser.parse_args()


def load(options: argparse.Namespace) -> Subject:
    data = Path(os.environ["ROBUSTMQ_DATA"])
    path = data / "models" / "resnet20_cifar10_float.onnx"
    dataset = open_dataset(data / "data" / "cifar10_2000")
    split = dataset.split(options.calibration, options.seed)
    pipeline = find_preset("cifar10")

    def tensor(part: Any) -> NDArray[np.float32]:
        loaded = stream_images(part, pipeline, batch=BATCH, threads=1)
        return np.concatenate([pipeline.tensor(chunk.images) for chunk in loaded])

    model = prepare(read_model(path)).model
    if options.equalise:
        from robustmq_trt.calib.equalise import equalise

        model = equalise(model).model
    rest = split.rest.subset(min(options.images, len(split.rest)), options.seed)
    return Subject(
        model=model,
        model_sha256=sha256_file(path),
        data_sha256=split.first.manifest_sha256,
        calibration=tensor(split.first),
        images=tensor(rest),
        labels=rest.labels,
    )


def calibrated(subject: Subject, method: str, widths: Sequence[int]) -> dict[int, RangeTable]:
    """Give one table a width, all out of one pass; only the MSE method looks at the width."""
    names = {bits: f"mse:{bits}" if method == "mse" else method for bits in widths}
    found = calibrate(subject.model, subject.batches, methods=sorted(set(names.values())), threads=1)
    return {bits: table(subject, name, found[name]) for bits, name in names.items()}


def table(subject: Subject, method: str, ranges: Mapping[str, tuple[float, float]]) -> RangeTable:
    return RangeTable(
        method=method,
        images=len(subject.calibration),
        model_sha256=subject.model_sha256,
        data_sha256=subject.data_sha256,
        preset="cifar10",
        ranges=ranges,
    )


def measure(
    subject: Subject, recipe: Recipe, tables: Mapping[int, RangeTable], options: argparse.Namespace
) -> dict[str, Any]:
    """Build one grid, check that it is integer and computes what it says, and score it."""
    quantized = quantize(subject.model, tables[8])
    bits = activation_bits(quantized, subject.model, recipe)
    ranges = mixed(subject, tables, bits)
    model, codes = chosen_weights(subject, recipe, ranges, bits, options)
    result = to_grid(quantized, model, ranges, recipe=recipe, weights=codes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.onnx"
        write_model(result, path)
        engine = OnnxRuntimeEngine.open(path, threads=options.threads)
        audit = engine.audit()
        scores = score(engine, subject.images)
        simulated = score(OnnxRuntimeEngine.open(path, threads=options.threads, simulate=True), subject.images)
    flips = int((scores.argmax(1) != simulated.argmax(1)).sum())
    assert audit.integer_coverage == 1.0, [layer.name for layer in audit.float_layers]
    assert flips <= LARGEST_DISAGREEMENT * len(scores), f"engine and simulation disagree on {flips} images"
    return {
        "precision": str(recipe.precision),
        "grid": recipe.describe(),
        **accuracy(scores, subject.labels),
        "integer_coverage": audit.integer_coverage,
        "flips_against_simulation": flips,
        "largest_logit_difference": float(np.abs(scores - simulated).max()),
        "activations": ranges.method,
        "weights": options.weights,
        "keep_ends": recipe.keep_ends,
    }


def mixed(subject: Subject, tables: Mapping[int, RangeTable], bits: Mapping[str, int]) -> RangeTable:
    """Give every tensor the range chosen for its own width."""
    own = {name: tables[bits.get(name, 8)].ranges[name] for name in tables[8].ranges}
    return table(subject, " and ".join(sorted({tables[width].method for width in bits.values()})), own)


def chosen_weights(
    subject: Subject, recipe: Recipe, ranges: RangeTable, bits: Mapping[str, int], options: argparse.Namespace
) -> tuple[onnx.ModelProto, Mapping[str, WeightCodes] | None]:
    if options.weights == "round":
        return subject.model, None
    from robustmq_trt.calib.fake_quant import Grid
    from robustmq_trt.calib.weights import WeightRecipe, choose_weights

    limits = effective_ranges(subject.model, ranges)
    grids = {name: Grid(low=limits[name][0], high=limits[name][1], bits=width) for name, width in bits.items()}
    chosen = choose_weights(
        subject.model,
        subject.batches,
        recipe=WeightRecipe(
            bits=recipe.precision.weights,
            overrides=weight_bits(subject.model, recipe),
            method=options.weights,
            bias_correction=not options.no_bias_correction,
            compensate=not options.no_compensation,
        ),
        grids=grids,
        threads=options.threads,
    )
    return chosen.model, chosen.codes


def float_row(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        write_model(subject.model, path)
        scores = score(OnnxRuntimeEngine.open(path, threads=options.threads), subject.images)
    row = {"precision": "fp32", **accuracy(scores, subject.labels)}
    print(line(row), flush=True)
    return row


def score(engine: OnnxRuntimeEngine, images: NDArray[np.float32]) -> NDArray[np.float32]:
    parts = [engine.infer(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    engine.close()
    return np.concatenate(parts)


def accuracy(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    interval = wilson(int((scores.argmax(1) == labels).sum()), len(labels))
    return {"accuracy": interval.value, "low": interval.low, "high": interval.high, "n": len(labels)}


def line(row: Mapping[str, Any]) -> str:
    rest = (
        ""
        if "flips_against_simulation" not in row
        else (f"  integer {row['integer_coverage']:.0%}  flips against simulation {row['flips_against_simulation']}")
    )
    return f"{row['precision']:5}  {row['accuracy']:6.2%} [{row['low']:.2%}, {row['high']:.2%}] n={row['n']}{rest}"


def save(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    stem = f"grids_{options.weights}_{options.activations}_{date.today()}_onnxruntime-{onnxruntime.__version__}.json"
    path = Path(__file__).parent / "results" / stem
    settings = {key: value for key, value in vars(options).items() if key not in ("no_save",)}
    write_json(path, {"settings": settings, "rows": rows})
    print(json.dumps({"saved": path.name}))


if __name__ == "__main__":
    main()
