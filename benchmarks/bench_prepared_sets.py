"""Prepared sets: seconds to measure a second engine on corrupted images that an earlier run kept, against making them.

Claim: on the 15 corruptions of ImageNet-C at 5 severities the kept images save most of what is not the engine, and
keeping them costs the first run little. For MobileNetV2 in INT8 on ONNX Runtime, and for a stand-in that answers at
once, which bounds what any faster engine can gain.

    ROBUSTMQ_DATA=... python benchmarks/bench_prepared_sets.py WORK                      # the record
    ROBUSTMQ_DATA=... python benchmarks/bench_prepared_sets.py WORK --images 8 --rounds 1 --no-save

WORK keeps the engine; the sets lie there while the benchmark runs (150 kB an image and condition). Inside the clock:
`evaluate.runner.run`, from stored files to stored answers; outside: opening the engine, statistics, report. In turns,
every round: no folder (``anew``), an empty folder (``first``), the folder just filled (``again``). Rows are asserted
equal before anything is reported. A figure is the median over rounds, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robustmq_trt.cli.main import main as command
from robustmq_trt.cli.targets import opened_targets
from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.store import Store
from robustmq_trt.evaluate.plan import Plan, Run
from robustmq_trt.evaluate.prepared_sets import PreparedSets
from robustmq_trt.evaluate.runner import run
from robustmq_trt.evaluate.suites import suite
from robustmq_trt.evaluate.target import Target
from robustmq_trt.inputs.dataset import Dataset
from robustmq_trt.inputs.sources import open_dataset

PRESET = "tflite-mobilenet"
WAYS = ("anew", "first", "again")


class Instant:
    """An engine that answers class 0 at once."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    def infer(self, batch: np.ndarray) -> np.ndarray:
        """Give one-hot scores, (N, classes)."""
        return np.eye(1, self.spec.classes, dtype=np.float32).repeat(len(batch), axis=0)


def main() -> None:
    options = parse()
    shared = Path(os.environ["ROBUSTMQ_DATA"])
    engine = built(options.work, shared)
    dataset = open_dataset(shared / "data" / "imagenet600").subset(options.images, 0)
    assert dataset.manifest_sha256  # every file is read and hashed before the clock runs
    with opened_targets([str(engine)], preset=PRESET, threads=1, batch=32) as opened:
        target = opened[0].target
        instant = replace(target, engine=Instant(target.engine.spec), name="instant", identity={"name": "instant"})
        found = {each.name: race(each, dataset, options) for each in (target, instant)}
    for name, entry in found.items():
        print(line(name, entry))
    if not options.no_save:
        print("written:", save(options, found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prepared sets: a repeated evaluation with and without them.")
    parser.add_argument("work", type=Path, help="folder for the engine and the sets")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--no-save", action="store_true")
    return parser.parse_args()


def built(work: Path, shared: Path) -> Path:
    path = work / "mobilenet_v2.w8a8.onnx"
    if not path.exists():
        model, data = shared / "models" / "mobilenet_v2_float.onnx", shared / "data" / "imagenet600"
        argv = ["build", model, "-o", work, "--calib", data, "--calib-size", 64, "--preset", PRESET, "--quiet"]
        assert command(list(map(str, argv))) == 0
    return path


def race(target: Target, dataset: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    spent: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, figures in one_round(target, dataset, options.work).items():
            spent[way].append(figures)
    conditions = len(suite("imagenet-c"))
    return {
        "wall": {way: summary([wall for wall, _ in turns]) for way, turns in spent.items()},
        "cpu": {way: summary([cpu for _, cpu in turns]) for way, turns in spent.items()},
        "n": len(dataset),
        "conditions": conditions,
        "bytes": len(dataset) * conditions * target.pipeline.size[0] * target.pipeline.size[1] * 3,
        "rounds": options.rounds,
    }


def one_round(target: Target, dataset: Dataset, work: Path) -> dict[str, tuple[float, float]]:
    """Give seconds of wall clock and of CPU for each way; the rows of all are equal."""
    folder = Path(tempfile.mkdtemp(dir=work))
    spent, rows = {}, {}
    try:
        for way in WAYS:
            prepared = None if way == "anew" else PreparedSets(folder / "sets", cap_bytes=1 << 40)
            spent[way], rows[way] = measured(target, dataset, prepared, folder / f"{way}.sqlite")
            assert prepared is None or (prepared.writes, prepared.reads)[way == "again"] > 0
            assert way != "again" or not prepared.writes
    finally:
        shutil.rmtree(folder)
    assert rows["anew"] == rows["first"] == rows["again"]
    return spent


def measured(
    target: Target, dataset: Dataset, prepared: PreparedSets | None, path: Path
) -> tuple[tuple[float, float], Any]:
    plan = Run(plan=Plan(conditions=suite("imagenet-c")), targets=[target], dataset=dataset)
    with Store(path) as store:
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        run(plan, store, prepared=prepared)
        spent = (time.perf_counter_ns() - wall) / 1e9, (time.process_time_ns() - cpu) / 1e9
        return spent, [(task.condition, task.status, task.rows) for task in store.tasks()]


def summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def line(name: str, entry: Mapping[str, Any]) -> str:
    wall, cpu = ({way: entry[clock][way]["median"] for way in WAYS} for clock in ("wall", "cpu"))
    return (
        f"{name}: anew {wall['anew']:.1f} s, first {wall['first']:.1f} s, again {wall['again']:.1f} s wall; CPU "
        f"{cpu['anew']:.1f}, {cpu['first']:.1f}, {cpu['again']:.1f} s; {entry['n']} images x {entry['conditions']} "
        f"conditions, {entry['bytes'] / 1e9:.2f} GB kept"
    )


def save(options: argparse.Namespace, found: Mapping[str, Any]) -> Path:
    made = provenance()
    path = options.results / f"prepared_sets_{options.date}_onnxruntime-{made['packages']['onnxruntime']}.json"
    claim = "seconds of evaluate.runner.run on imagenet-c: without sets, keeping them, finding them"
    write_json(path, {"claim": claim, "preset": PRESET, "results": dict(found), "provenance": made})
    return path


if __name__ == "__main__":
    main()
