"""INT4 weight-only blocks of 32, 64 and 128 on the embedded vision transformer: accuracy, size, latency, arithmetic.

No speed-up is claimed: each row says whether it is faster or slower than fp32 on its own runtime, and by the audit
which share of the multiply-accumulates its engine really does in integers. ONNX Runtime runs MatMulNBits at accuracy
level 0 (float activations) and 4 (activations may be rounded to int8), OpenVINO the same codes as Q/DQ.

    python benchmarks/bench_int4_blocks.py                                     # no data needed
    python benchmarks/bench_int4_blocks.py --seconds 0.3 --rounds 6 --no-save

Accuracy on all 200 embedded evaluation images, with a paired test against fp32 on the same runtime. Latency at batch
1 on one thread, ready tensor in, scores out; all contenders take turns in one process in short rounds, and the ratio to
fp32 is the median over rounds of neighbouring medians with its distribution-free 95 % interval. `--clock cpu` counts
the process's CPU time, which other processes' turns on a busy machine do not enter.

Asserted before timing, against the same codes multiplied out in float with all optimizations off: the files at level 0
within 1e-4 and OpenVINO's within 1e-2 of the largest logit.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from robustmq_trt.assets import images_dir, model_path
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.statistics import paired_difference, wilson
from robustmq_trt.engines.audit import Audit
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.protocol import Engine
from robustmq_trt.evaluate.latency import measure_latency
from robustmq_trt.evaluate.spread import percentile
from robustmq_trt.evaluate.stopwatch import Budget
from robustmq_trt.evaluate.target import Target
from robustmq_trt.evaluate.timing import Timing
from robustmq_trt.export.int4_blocks import quantize_blocks
from robustmq_trt.export.onnx_file import read_model, write_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import stream_images
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

BLOCKS = (32, 64, 128)
LEVELS = (0, 4)
BATCH = 20
FLOAT = "fp32"
TOLERANCES = {"onnxruntime": 1e-4, "openvino": 1e-2}
CLOCKS = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One file on one runtime; ``exact`` names the Q/DQ file whose codes it multiplies in float, if it does."""

    name: str
    runtime: str
    path: Path
    engine: Engine
    exact: str | None = None

    @property
    def title(self) -> str:
        """Give the name the latency table calls it."""
        return f"{self.runtime} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Images:
    """Pixels (N, H, W, 3) uint8, the engine's input (N, 3, H, W) and labels (N,)."""

    pixels: NDArray[np.uint8]
    tensor: NDArray[np.float32]
    labels: NDArray[np.int64]


def main() -> None:
    options = parse()
    pipeline = find_preset("torchvision").for_size(64, 64)
    images = load(pipeline)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: written(model, Path(folder) / f"{name}.onnx") for name, model in files().items()}
        contenders = opened(paths)
        scores = {each.title: score(each.engine, images) for each in contenders}
        check(contenders, paths, scores, images)
        load_before = os.getloadavg()[0]
        timings = race(contenders, images, pipeline, options)
        rows = [row(each, scores, timings, images, options.seed) for each in contenders]
    print(table(rows))
    if options.save:
        print(f"written: {save(options, rows, load_before)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="inside the clock, per contender")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--no-save", dest="save", action="store_false")
    return parser.parse_args()


# The files and the images


def load(pipeline: Pipeline) -> Images:
    dataset = open_dataset(images_dir("eval"))
    pixels = np.concatenate([chunk.images for chunk in stream_images(dataset, pipeline, batch=BATCH, threads=1)])
    return Images(pixels=pixels, tensor=pipeline.tensor(pixels), labels=np.asarray(dataset.labels))


def files() -> dict[str, onnx.ModelProto]:
    model = prepare(read_model(model_path("vit"))).model
    made = {FLOAT: model}
    for block in BLOCKS:
        made[f"w4-b{block} qdq"] = quantize_blocks(model, block=block, style="qdq")
        for level in LEVELS:
            made[f"w4-b{block} level {level}"] = quantize_blocks(model, block=block, accuracy_level=level)
    return made


def written(model: onnx.ModelProto, path: Path) -> Path:
    write_model(model, path)
    return path


def opened(paths: Mapping[str, Path]) -> list[Contender]:
    """Open every file on the runtime it is for; fp32 first on each."""
    found = []
    for name, path in paths.items():
        for runtime in ("onnxruntime", "openvino") if name == FLOAT else (runtime_of(name),):
            exact = None if name == FLOAT or name.endswith("level 4") else f"{name.split()[0]} qdq"
            engine = open_engine(f"{runtime}:{path}", threads=1)
            found.append(Contender(name=name, runtime=runtime, path=path, engine=engine, exact=exact))
    return sorted(found, key=lambda each: each.runtime)


def runtime_of(name: str) -> str:
    return "openvino" if name.endswith("qdq") else "onnxruntime"


# Answers before time


def score(engine: Engine, images: Images) -> NDArray[np.float32]:
    parts = [engine.infer(images.tensor[start : start + BATCH]) for start in range(0, len(images.tensor), BATCH)]
    return np.concatenate(parts)


def check(
    contenders: Sequence[Contender],
    paths: Mapping[str, Path],
    scores: Mapping[str, NDArray[np.float32]],
    images: Images,
) -> None:
    """Assert that the files which multiply in float compute their codes."""
    for name in (name for name in paths if name.endswith("qdq")):
        with closing(open_engine(f"simulation:{paths[name]}", threads=1)) as engine:
            expected = score(engine, images)
        for each in contenders:
            if each.exact == name:
                difference = np.abs(scores[each.title] - expected).max() / np.abs(expected).max()
                assert difference <= TOLERANCES[each.runtime], f"{each.title} is off by {difference:.2g}"


# The race


def race(
    contenders: Sequence[Contender], images: Images, pipeline: Pipeline, options: argparse.Namespace
) -> dict[str, Timing]:
    targets = [
        Target(name=each.title, engine=each.engine, pipeline=pipeline, identity={"sha256": sha256_file(each.path)})
        for each in contenders
    ]
    budget = Budget(seconds=options.seconds, rounds=options.rounds, min_queries=4 * options.rounds, batches=(1,))
    report = measure_latency(
        targets,
        list(images.pixels[:64]),
        budget=budget,
        scopes=("engine",),
        seed=options.seed,
        clock=CLOCKS[options.clock],
    )
    return {timing.engine: timing for timing in report.timings if timing.scenario == "single-stream"}


# The record


def row(
    contender: Contender,
    scores: Mapping[str, NDArray[np.float32]],
    timings: Mapping[str, Timing],
    images: Images,
    seed: int,
) -> dict[str, Any]:
    reference = f"{contender.runtime} {FLOAT}"
    right, expected = (scores[title].argmax(1) == images.labels for title in (contender.title, reference))
    found = {
        "runtime": contender.runtime,
        "file": contender.name,
        "size_bytes": contender.path.stat().st_size,
        "accuracy": asdict(wilson(int(right.sum()), len(right))),
        "latency": timings[contender.title].to_json(),
        "audit": arithmetic(contender.engine.audit()),
    }
    if contender.name != FLOAT:
        found["against_fp32"] = asdict(paired_difference(right, expected, seed=seed))
        found["flips"] = int((scores[contender.title].argmax(1) != scores[reference].argmax(1)).sum())
        found["times_fp32"] = speed(timings[contender.title], timings[reference])
    return found


def speed(timing: Timing, reference: Timing) -> dict[str, Any]:
    ratio = percentile(np.divide(reference.rounds, timing.rounds), 0.5)
    verdict = "faster" if ratio.low > 1 else "slower" if ratio.high < 1 else "not distinguishable"
    return {"value": ratio.value, "low": ratio.low, "high": ratio.high, "rounds": ratio.n, "verdict": verdict}


def arithmetic(audit: Audit) -> dict[str, Any]:
    """Give the share of multiply-accumulates by kernel and arithmetic, and why layers stayed float."""
    shares: Counter[str] = Counter()
    for layer in audit.layers:
        shares[f"{layer.operator}, kernel {layer.kernel or 'unknown'}: {layer.compute}"] += layer.macs or 0
    return {
        "integer_coverage": audit.integer_coverage,
        "shares": {name: macs / audit.macs for name, macs in shares.most_common()},
        "reasons": dict(Counter(layer.reason for layer in audit.layers if layer.reason)),
        "notes": list(audit.notes),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = ["runtime", "file", "kB", "right of 200", "p (paired)", "ms", "x fp32", "integer"]
    return "\n".join(line(cells) for cells in [heads, *map(cells_of, rows)])


def cells_of(found: Mapping[str, Any]) -> list[str]:
    accuracy, ratio = found["accuracy"], found.get("times_fp32")
    return [
        found["runtime"],
        found["file"],
        f"{found['size_bytes'] / 1000:.0f}",
        f"{accuracy['value']:.1%} [{accuracy['low']:.1%}, {accuracy['high']:.1%}]",
        "" if ratio is None else f"{found['against_fp32']['p_value']:.2f}",
        f"{found['latency']['statistics']['p50']['value']:.3f}",
        "" if ratio is None else f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] {ratio['verdict']}",
        f"{found['audit']['integer_coverage']:.1%}",
    ]


def line(cells: Sequence[str]) -> str:
    widths = (13, 17, 6, 25, 12, 8, 40, 8)
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def save(options: argparse.Namespace, rows: Sequence[Mapping[str, Any]], load_before: float) -> Path:
    made = provenance()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    packages = made["packages"]
    versions = f"onnxruntime-{packages['onnxruntime']}_openvino-{packages['openvino']}"
    path: Path = options.results / f"int4_blocks_{today}_{versions}.json"
    setting = {
        "model_sha256": sha256_file(model_path("vit")),
        "seed": options.seed,
        "clock": options.clock,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "threads": 1,
        "load_before_timing": load_before,
    }
    write_json(path, {"date": today, "definition": __doc__, **setting, "provenance": made, "rows": list(rows)})
    return path


if __name__ == "__main__":
    main()
