"""One QDQ file, several engines: how often they answer differently, by how much, and how fast each one is.

Claim: OpenVINO runs the TensorRT profile (trt-s8) as it is, at least 99 % of its multiply-accumulates in integers, on
which ONNX Runtime leaves layers in float; and two integer engines name another class on more images than an engine and
its simulation do. That share is the noise floor under every comparison of engines.

    ROBUSTMQ_DATA=... python benchmarks/bench_engines.py                          # ResNet20, 1000 CIFAR-10 images
    ROBUSTMQ_DATA=... python benchmarks/bench_engines.py --net mobilenet          # MobileNetV2, 344 ImageNet images
    ROBUSTMQ_DATA=... python benchmarks/bench_engines.py --images 100 --seconds 0.2 --no-save

Calibrated by min-max on 256 other images of the same set. Each row compares with ONNX Runtime running the same file
with Q/DQ in float. Latency is engine-only, in short interleaved rounds of one process, after every engine has given all
its answers; `--clock cpu` counts the process's CPU time, which other processes' turns on a busy machine do not enter.
Asserted before timing: the two runtimes agree on the float file (no flip, at most 1e-3 in any logit), the
lowered file simulates to the same bits, every OpenVINO row of a quantized file is integer, and OpenVINO's answers are
the same bits at batch 1, 8 and 32.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from robustmq_trt.calib.calibrate import calibrate
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.core.statistics import wilson
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.openvino import OpenVinoEngine
from robustmq_trt.engines.protocol import Engine
from robustmq_trt.engines.selftest import self_test
from robustmq_trt.evaluate.latency import measure_latency
from robustmq_trt.evaluate.stopwatch import Budget
from robustmq_trt.evaluate.target import Target
from robustmq_trt.export.lower import lower
from robustmq_trt.export.onnx_file import read_model, write_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantize
from robustmq_trt.export.widen_channels import widen_channels
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import stream_images
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

# Model, images, preprocessing.
NETS: dict[str, tuple[str, str, str]] = {
    "resnet20": ("resnet20_cifar10_float.onnx", "cifar10_2000", "cifar10"),
    "mobilenet": ("mobilenet_v2_float.onnx", "imagenet600", "tflite-mobilenet"),
}
CALIBRATION = 256
BATCH = 32
SIMULATION = "simulation"
CLOCKS = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}


@dataclass(frozen=True, kw_only=True)
class Images:
    """Pixels (N, H, W, 3) uint8, the engine's input (N, 3, H, W) and labels (N,)."""

    pixels: NDArray[np.uint8]
    tensor: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One engine on one file."""

    file: str
    kind: str
    engine: Engine

    @property
    def name(self) -> str:
        """Give the name the latency table calls it."""
        return f"{self.file} {self.kind}"


def main() -> None:
    options = parse()
    pipeline = find_preset(NETS[options.net][2])
    with tempfile.TemporaryDirectory() as folder:
        calibration, images = load(options, pipeline)
        files = build(options, calibration, Path(folder))
        contenders = [opened(name, path, options.threads) for name, path in files.items()]
        rows = [row for group in contenders for row in compare(group, images)]
        check(rows)
        check_lowering([contender for group in contenders for contender in group], images)
        print(table(rows), flush=True)
        timings = race([contender for group in contenders for contender in group], images, pipeline, options)
    print(timing_table(timings))
    if options.save:
        print(f"written: {save(options, rows, timings)}", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=NETS, default="resnet20")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="per engine and scenario")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--no-save", dest="save", action="store_false")
    return parser.parse_args()


# The files and the images


def load(options: argparse.Namespace, pipeline: Pipeline) -> tuple[Images, Images]:
    data = Path(os.environ["ROBUSTMQ_DATA"]) / "data"
    split = open_dataset(data / NETS[options.net][1]).split(CALIBRATION, options.seed)
    rest = split.rest.subset(min(options.images, len(split.rest)), options.seed)
    return decoded(split.first, pipeline), decoded(rest, pipeline)


def decoded(dataset: Any, pipeline: Pipeline) -> Images:
    chunks = stream_images(dataset, pipeline, batch=BATCH, threads=1)
    pixels = np.concatenate([chunk.images for chunk in chunks])
    return Images(pixels=pixels, tensor=pipeline.tensor(pixels), labels=np.asarray(dataset.labels))


def build(options: argparse.Namespace, calibration: Images, folder: Path) -> dict[str, Path]:
    """Write the float file and its three quantized forms."""
    path = Path(os.environ["ROBUSTMQ_DATA"]) / "models" / NETS[options.net][0]
    model = prepare(read_model(path)).model

    def batches() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(calibration.tensor), BATCH):
            yield calibration.tensor[start : start + BATCH]

    found = calibrate(model, batches, methods=["minmax"], threads=options.threads)["minmax"]
    ranges = RangeTable(
        method="minmax",
        images=len(calibration.tensor),
        model_sha256=sha256_file(path),
        data_sha256="",
        preset=NETS[options.net][2],
        ranges=found,
    )
    signed = quantize(model, ranges, profile="trt-s8")
    models = {
        "float": model,
        "trt-s8": signed,
        "trt-s8-lowered": widen_channels(lower(signed).model),
        "cpu-u8": widen_channels(quantize(model, ranges, profile="cpu-u8")),
    }
    return {name: written(each, folder / f"{name}.onnx") for name, each in models.items()}


def written(model: onnx.ModelProto, path: Path) -> Path:
    write_model(model, path)
    return path


def opened(name: str, path: Path, threads: int) -> list[Contender]:
    """Open one file on every engine, the simulation first."""
    kinds = [SIMULATION, "onnxruntime", "openvino"]
    found = [Contender(file=name, kind=kind, engine=open_engine(f"{kind}:{path}", threads=threads)) for kind in kinds]
    own = OpenVinoEngine.open(path, threads=threads, simulate=True)
    return [*found, Contender(file=name, kind="openvino-simulation", engine=own)]


# Answers before time


def compare(group: Sequence[Contender], images: Images) -> list[dict[str, Any]]:
    reference = score(group[0].engine, images)
    return [row(contender, images, reference) for contender in group]


def row(contender: Contender, images: Images, reference: NDArray[np.float32]) -> dict[str, Any]:
    scores = score(contender.engine, images)
    gaps = np.abs(scores - reference)
    right = int((scores.argmax(1) == images.labels).sum())
    tested = self_test(contender.engine, images.tensor[:BATCH]) if contender.kind == "openvino" else None
    return {
        "file": contender.file,
        "engine": contender.kind,
        "n": len(scores),
        "accuracy": interval(right, len(scores)),
        "flips": interval(int((scores.argmax(1) != reference.argmax(1)).sum()), len(scores)),
        "largest_logit_difference": float(gaps.max()),
        "mean_logit_difference": float(gaps.mean()),
        "integer_coverage": contender.engine.audit().integer_coverage,
        "selftest": None if tested is None else tested.to_json(),
        "engine_provenance": dict(contender.engine.provenance()),
    }


def score(engine: Engine, images: Images) -> NDArray[np.float32]:
    return np.concatenate(
        [engine.infer(images.tensor[start : start + BATCH]) for start in range(0, len(images.tensor), BATCH)]
    )


def interval(count: int, n: int) -> dict[str, float]:
    found = wilson(count, n)
    return {"count": count, "share": found.value, "low": found.low, "high": found.high}


def check(rows: Sequence[dict[str, Any]]) -> None:
    for each in rows:
        where = f"{each['file']} on {each['engine']}: {each}"
        if each["file"] == "float":
            assert each["flips"]["count"] == 0, where
            assert each["largest_logit_difference"] <= 1e-3, where
        elif each["engine"] == "openvino":
            assert each["integer_coverage"] >= 0.99, where
            assert each["selftest"]["batch_invariant"], where
        elif each["engine"] == "onnxruntime" and each["file"] != "trt-s8":
            assert each["integer_coverage"] >= 0.99, where


def check_lowering(contenders: Sequence[Contender], images: Images) -> None:
    engines = {contender.name: contender.engine for contender in contenders}
    signed, lowered = (score(engines[f"{file} {SIMULATION}"], images) for file in ("trt-s8", "trt-s8-lowered"))
    assert np.array_equal(signed, lowered), "the lowered file does not compute what it was lowered from"


# The race


def race(
    contenders: Sequence[Contender], images: Images, pipeline: Pipeline, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Time the engines that somebody would deploy, the float file on ONNX Runtime first."""
    chosen = [contender for contender in contenders if contender.kind in ("onnxruntime", "openvino")]
    targets = [
        Target(name=each.name, engine=each.engine, pipeline=pipeline, identity={"file": each.file}) for each in chosen
    ]
    report = measure_latency(
        targets,
        list(images.pixels[:64]),
        budget=Budget(seconds=options.seconds, rounds=options.rounds, min_queries=10 * options.rounds, batches=(1, 32)),
        scopes=("engine",),
        seed=options.seed,
        clock=CLOCKS[options.clock],
    )
    return [{**timing.to_json(), "stable": timing.stable} for timing in report.timings]


def table(rows: Sequence[dict[str, Any]]) -> str:
    heads = ["file", "engine", "n", "right %", "flips (95 %)", "max |d|", "mean |d|", "integer"]
    return "\n".join(line(cells) for cells in [heads, *map(cells_of, rows)])


def cells_of(row: dict[str, Any]) -> list[str]:
    flips = row["flips"]
    return [
        row["file"],
        row["engine"],
        str(row["n"]),
        f"{100 * row['accuracy']['share']:.1f}",
        f"{flips['count']} ({flips['low'] * row['n']:.0f}-{flips['high'] * row['n']:.0f})",
        f"{row['largest_logit_difference']:.4f}",
        f"{row['mean_logit_difference']:.4f}",
        f"{100 * row['integer_coverage']:.1f} %",
    ]


def line(cells: Sequence[str]) -> str:
    widths = [16, 21, 6, 9, 15, 9, 10, 9]
    first = "".join(f"{cell:<{width}}" for cell, width in zip(cells[:2], widths[:2], strict=True))
    return first + "".join(f"{cell:>{width}}" for cell, width in zip(cells[2:], widths[2:], strict=True))


def timing_table(timings: Sequence[dict[str, Any]]) -> str:
    lines = []
    for each in timings:
        figures = ", ".join(f"{name} {value['value']:.3f}" for name, value in each["statistics"].items())
        ratio = "" if each["speedup"] is None else f", {each['speedup']['value']:.2f}x float"
        doubt = "" if each["stable"] else "  (unstable)"
        lines.append(f"{each['engine']:<32}{each['scenario']:<15}{figures} {each['unit']}{ratio}{doubt}")
    return "\n".join(lines)


def save(options: argparse.Namespace, rows: Sequence[dict[str, Any]], timings: Sequence[dict[str, Any]]) -> Path:
    made = provenance()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    device = re.sub(r"[^a-z0-9]+", "-", str(made["cpu"]["model"]).lower()).strip("-")
    packages = made["packages"]
    versions = f"ort{packages['onnxruntime']}-openvino{packages['openvino']}"
    path: Path = options.results / f"engines-{options.net}-{today}-{device}-{options.threads}threads-{versions}.json"
    setting = {"net": options.net, "images": options.images, "seed": options.seed, "calibration": CALIBRATION}
    setting |= {"threads": options.threads, "clock": options.clock, "rounds": options.rounds}
    document = {"date": today, "definition": __doc__, **setting, "load": os.getloadavg()[0], "provenance": made}
    write_json(path, {**document, "rows": list(rows), "timings": list(timings)})
    return path


if __name__ == "__main__":
    main()
