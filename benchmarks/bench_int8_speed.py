"""Goal: INT8 at least 2.5 times as fast as fp32; ResNet18 (trt-s8, lowered) reaches it, MobileNetV2 (cpu-u8) does not.

One thread, engine only: a ready tensor in, scores out, at batch 1 (single-stream: the goals) and at the fastest of the
batch sizes 1, 4 and 16, each engine's own (offline). ONNX Runtime and OpenVINO run the same files, and each is measured
by its own fp32 engine. With `--fixed` all files take batch 1 and nothing else, as where single images are served and
OpenVINO need not expect another batch size. All engines of a net take turns in one process in short rounds, and each
round gives one ratio fp32 / INT8 of neighbouring medians; the row shows the median of these ratios with its
distribution-free 95 % interval, so a drift of the machine falls on both sides. Beside them stand both profiles and
w4a8: a 4-bit grid in int8 kernels runs the same kernels, so no speed-up over w8a8 is claimed for it.

The clock is the wall's; `--clock cpu` counts the process's CPU time instead, which other processes' turns on a busy
machine do not enter (they still share its caches); the record says which one it was.

Asserted before timing: at least 99 % of the multiply-accumulates are integer in each quantized engine, the lowered
files simulate to the same bits as those they were lowered from, and every engine agrees with ONNX Runtime's simulation
of its file within 5 % of the largest score. The verdict is "met" if the whole interval lies above the goal, "missed" if
it lies below, else "undecided".

    ROBUSTMQ_DATA=... python benchmarks/bench_int8_speed.py
    ROBUSTMQ_DATA=... python benchmarks/bench_int8_speed.py --fixed
    ROBUSTMQ_DATA=... ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI python benchmarks/bench_int8_speed.py --fixed
    ROBUSTMQ_DATA=... python benchmarks/bench_int8_speed.py --nets resnet18 --seconds 1 --rounds 6 --no-save

`ONEDNN_MAX_CPU_ISA` keeps OpenVINO off the tile unit (AMX); the record says so.
The ResNet18 has random weights (see resnet18.py) and is calibrated on noise; MobileNetV2 on ImageNet images.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from robustmq_trt.calib.calibrate import calibrate
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.precision import Precision
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.ranges import RangeTable
from robustmq_trt.core.recipe import Recipe
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.engines.protocol import Engine
from robustmq_trt.evaluate.latency import measure_latency
from robustmq_trt.evaluate.spread import percentile
from robustmq_trt.evaluate.stopwatch import Budget
from robustmq_trt.evaluate.target import Target
from robustmq_trt.evaluate.timing import Timing
from robustmq_trt.export.equality import prove_equal
from robustmq_trt.export.grid import to_grid
from robustmq_trt.export.lower import lower
from robustmq_trt.export.onnx_file import read_model, write_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.export.qdq import quantize
from robustmq_trt.export.widen_channels import widen_channels
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import stream_images
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

GOAL = 2.5
GOALS = {"resnet18": "w8a8 trt-s8 lowered", "mobilenet_v2": "w8a8 cpu-u8"}
IMAGES = 16
FLOAT = "fp32"
BATCHES = (1, 4, 16)
ISA = "ONEDNN_MAX_CPU_ISA"
BACKENDS = ("onnxruntime", "openvino")
CLOCKS = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}


class Entrant(NamedTuple):
    """A file on a runtime."""

    backend: str
    file: str

    def __str__(self) -> str:
        return f"{self.backend} {self.file}"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A float net and the images it is calibrated and timed on."""

    model: onnx.ModelProto
    pipeline: Pipeline
    pixels: NDArray[np.uint8]

    @property
    def tensor(self) -> NDArray[np.float32]:
        """The images as the engine's input."""
        return self.pipeline.tensor(self.pixels)


def main() -> None:
    options = parse()
    documents = {}
    for net in options.nets:
        print(f"{net}: exporting, calibrating, proving", flush=True)
        documents[net] = measure(net, options)
        for row in documents[net]["rows"]:
            print(line(row), flush=True)
    if options.save:
        print(f"written: {save(options, documents)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--fixed", action="store_true", help="fix the files to batch 1")
    parser.add_argument("--seconds", type=float, default=8.0, help="inside the clock, per engine")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--no-save", dest="save", action="store_false")
    return parser.parse_args()


# The files


def load(net: str, seed: int) -> Subject:
    if net == "resnet18":
        from resnet18 import SIZE, exported

        noise = np.random.default_rng(seed).integers(0, 256, (IMAGES, *SIZE, 3), dtype=np.uint8)
        return Subject(model=exported(), pipeline=find_preset("torchvision").for_size(*SIZE), pixels=noise)
    data, pipeline = Path(os.environ["ROBUSTMQ_DATA"]), find_preset("tflite-mobilenet")
    drawn = open_dataset(data / "data" / "imagenet600").subset(IMAGES, seed)
    pixels = np.concatenate([chunk.images for chunk in stream_images(drawn, pipeline, batch=8, threads=1)])
    model = prepare(read_model(data / "models" / "mobilenet_v2_float.onnx")).model
    return Subject(model=model, pipeline=pipeline, pixels=pixels)


def quantized(subject: Subject) -> dict[str, onnx.ModelProto]:
    """Give each engine's file; the lowered ones are proven equal to those they were lowered from."""

    def batches() -> Iterator[NDArray[np.float32]]:
        yield from np.split(subject.tensor, IMAGES // 4)

    ranges = RangeTable(
        method="minmax",
        images=IMAGES,
        model_sha256="",
        data_sha256="",
        preset=subject.pipeline.name,
        ranges=calibrate(subject.model, batches, methods=["minmax"], threads=1)["minmax"],
    )
    recipe = Recipe(precision=Precision.parse("w4a8"))
    files = {}
    for profile in ("trt-s8", "cpu-u8"):
        eight = quantize(subject.model, ranges, profile=profile)
        for precision, model in {"w8a8": eight, "w4a8": to_grid(eight, subject.model, ranges, recipe=recipe)}.items():
            if profile == "trt-s8":
                lowered = widen_channels(lower(model).model)
                prove_equal(model, lowered, subject.tensor[:2])
                files[f"{precision} trt-s8 lowered"] = lowered
            else:
                files[f"{precision} cpu-u8"] = widen_channels(model)
    return files


def of_batch_one(model: onnx.ModelProto) -> onnx.ModelProto:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del fixed.graph.value_info[:]
    return fixed


# Correctness before time


def checked(target: Target, path: Path, images: NDArray[np.float32]) -> dict[str, Any]:
    """Assert that an engine is integer and computes what its file's simulation does; say by how much they differ."""
    scores, simulated = one_by_one(target.engine, images), simulation(path, images)
    coverage = target.engine.audit().integer_coverage
    difference = float(np.abs(scores - simulated).max() / np.abs(simulated).max())
    assert coverage is not None, f"{target.name}: the share of integer multiply-accumulates cannot be told"
    assert coverage >= 0.99, f"{target.name}: {coverage:.3f} of the multiply-accumulates are integer"
    assert difference <= 0.05, f"{target.name}: engine and simulation differ by {difference:.3f} of the largest score"
    return {"integer_coverage": coverage, "largest_difference_from_simulation": difference}


def simulation(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    engine = OnnxRuntimeEngine.open(path, threads=1, simulate=True)
    try:
        return one_by_one(engine, images)
    finally:
        engine.close()


def one_by_one(engine: Engine, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([engine.infer(image[None]) for image in images])


# The race


def measure(net: str, options: argparse.Namespace) -> dict[str, Any]:
    subject = load(net, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, model in {FLOAT: subject.model, **quantized(subject)}.items():
            paths[name] = Path(folder) / f"{name.replace(' ', '-')}.onnx"
            write_model(of_batch_one(model) if options.fixed else model, paths[name])
        entrants = [Entrant(backend, name) for backend in options.backends for name in paths]
        targets = {entrant: open_target(entrant, paths[entrant.file], subject.pipeline) for entrant in entrants}
        facts = {
            entrant: {"integer_coverage": 0.0}
            if entrant.file == FLOAT
            else checked(target, paths[entrant.file], subject.tensor[:4])
            for entrant, target in targets.items()
        }
        files = {name: {"sha256": sha256_file(path), "size_bytes": path.stat().st_size} for name, path in paths.items()}
        load_before = os.getloadavg()[0]
        budget = Budget(seconds=options.seconds, rounds=options.rounds, min_queries=2 * options.rounds, batches=BATCHES)
        report = measure_latency(
            list(targets.values()),
            list(subject.pixels),
            budget=budget,
            scopes=("engine",),
            seed=options.seed,
            clock=CLOCKS[options.clock],
        )
    timings = {(timing.scenario, timing.engine): timing for timing in report.timings}
    rows = [
        row(net, entrant, timings[scenario, str(entrant)], timings[scenario, f"{entrant.backend} {FLOAT}"])
        | facts[entrant]
        for scenario in ("single-stream", "offline")
        for entrant in entrants
    ]
    return {"load_before_timing": load_before, "files": files, "budget": report.budget.to_json(), "rows": rows}


def open_target(entrant: Entrant, path: Path, pipeline: Pipeline) -> Target:
    engine = open_engine(f"{entrant.backend}:{path}", threads=1)
    return Target(name=str(entrant), engine=engine, pipeline=pipeline, identity={})


def row(net: str, entrant: Entrant, timing: Timing, reference: Timing) -> dict[str, Any]:
    found: dict[str, Any] = {"net": net, "backend": entrant.backend, "file": entrant.file, **timing.to_json()}
    if timing is reference:
        return found
    # rounds are milliseconds a query in single-stream, images a second in offline
    slower, faster = (reference, timing) if timing.scenario == "single-stream" else (timing, reference)
    ratio = percentile(np.divide(slower.rounds, faster.rounds), 0.5)
    found["times_fp32"] = {"value": ratio.value, "low": ratio.low, "high": ratio.high, "rounds": ratio.n}
    if GOALS[net] == entrant.file and timing.scenario == "single-stream":
        found["goal"] = GOAL
        found["verdict_on_goal"] = "met" if ratio.low >= GOAL else "missed" if ratio.high < GOAL else "undecided"
    return found


def line(found: dict[str, Any]) -> str:
    figure = found["statistics"]["p50" if found["unit"] == "ms" else "throughput"]["value"]
    start = f"  {found['engine']:34} batch {found['batch']:2}{figure:9.2f} {found['unit']:8}"
    if "times_fp32" not in found:
        return start
    ratio = found["times_fp32"]
    goal = f"  goal {found['goal']}: {found['verdict_on_goal']}" if "goal" in found else ""
    return f"{start}{ratio['value']:7.2f}x fp32 [{ratio['low']:.2f}, {ratio['high']:.2f}] n={ratio['rounds']}{goal}"


def save(options: argparse.Namespace, documents: dict[str, Any]) -> Path:
    made = provenance()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    isa = os.environ.get(ISA, "")
    variant = "".join(f"_{word}" for word in ("fixed" if options.fixed else "", isa.lower()) if word)
    path: Path = options.results / f"int8_speed{variant}_{today}_onnxruntime-{made['packages']['onnxruntime']}.json"
    asked = {key: getattr(options, key) for key in ("fixed", "clock", "seed")}
    setting = asked | {"batches": BATCHES, "threads": 1, "goal": GOAL}
    write_json(path, {"date": today, "definition": __doc__, **setting, "provenance": made, "nets": documents})
    return path


if __name__ == "__main__":
    main()
