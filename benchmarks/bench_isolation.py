"""What a process of its own costs an engine: batches through the child against batches in this process, in turns.

    python benchmarks/bench_isolation.py [MODEL.onnx ...]
    python benchmarks/bench_isolation.py --rounds 5 --no-save

The scores of every batch are compared bit for bit before anything is timed. Both engines take turns on the same batch,
each first in every second round; reported are the median of each and the median of the paired differences, with a 95 %
bootstrap interval. The result goes to ``benchmarks/results/isolation_DATE_onnxruntime-VERSION.json``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from robustmq_trt import assets
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.child import Isolation
from robustmq_trt.engines.protocol import Engine

BATCHES = (1, 8, 32)
WARM_UP = 5
RESAMPLES = 1000


def main() -> None:
    options = parse()
    load_before = os.getloadavg()[0]
    rows = [row for model in options.models for row in measured(model, options.rounds, options.seed)]
    print(table(rows))
    if options.save:
        print("written:", save(options, rows, load_before))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, default=[assets.model_path()])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--no-save", dest="save", action="store_false")
    return parser.parse_args()


def measured(model: Path, rounds: int, seed: int) -> list[dict[str, Any]]:
    """Check one model at each batch size, then time it."""
    started = time.perf_counter_ns()
    apart = open_engine(model, threads=1, isolate=Isolation())
    opened = {"child_open_ms": (time.perf_counter_ns() - started) / 1e6}
    here = open_engine(model, threads=1)
    rng = np.random.default_rng(seed)
    batches = [rng.normal(size=(size, *here.spec.image_shape)).astype(np.float32) for size in BATCHES]
    check(here, apart, batches)
    named = {"model": model.name, "model_sha256": sha256_file(model)}
    rows = [{**named, **opened, **row(race(here, apart, batch, rounds), batch, rng)} for batch in batches]
    apart.close()
    here.close()
    return rows


def check(here: Engine, apart: Engine, batches: list[NDArray[np.float32]]) -> None:
    for batch in batches:
        assert np.array_equal(here.infer(batch), apart.infer(batch)), f"other scores in the child at {len(batch)}"


def race(here: Engine, apart: Engine, batch: NDArray[np.float32], rounds: int) -> NDArray[np.float64]:
    """Time both in turns; gives (rounds, 2) milliseconds, here and apart."""
    times = np.empty((rounds + WARM_UP, 2))
    for number in range(len(times)):
        for column in (0, 1) if number % 2 else (1, 0):
            times[number, column] = milliseconds((here, apart)[column], batch)
    return times[WARM_UP:]


def milliseconds(engine: Engine, batch: NDArray[np.float32]) -> float:
    started = time.perf_counter_ns()
    engine.infer(batch)
    return (time.perf_counter_ns() - started) / 1e6


def row(times: NDArray[np.float64], batch: NDArray[np.float32], rng: np.random.Generator) -> dict[str, Any]:
    differences = times[:, 1] - times[:, 0]
    resampled = np.median(rng.choice(differences, (RESAMPLES, len(differences))), axis=1)
    return {
        "batch": len(batch),
        "batch_bytes": batch.nbytes,
        "here_ms": float(np.median(times[:, 0])),
        "child_ms": float(np.median(times[:, 1])),
        "difference_ms": float(np.median(differences)),
        "difference_ms_interval": [float(bound) for bound in np.percentile(resampled, (2.5, 97.5))],
        "n": len(differences),
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| model | batch | in this process ms | in a child ms | difference ms [95 %] | n |",
        "|---|---|---|---|---|---|",
    ]
    for each in rows:
        low, high = each["difference_ms_interval"]
        lines.append(
            f"| {each['model']} | {each['batch']} | {each['here_ms']:.3f} | {each['child_ms']:.3f} | "
            f"{each['difference_ms']:.3f} [{low:.3f}, {high:.3f}] | {each['n']} |"
        )
    return "\n".join(lines)


def save(options: argparse.Namespace, rows: list[dict[str, Any]], load_before: float) -> Path:
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    path: Path = options.results / f"isolation_{date}_onnxruntime-{onnxruntime.__version__}.json"
    document = {
        "date": date,
        "claim": "what a process of its own costs an engine, batch by batch",
        "seed": options.seed,
        "warm_up": WARM_UP,
        "resamples": RESAMPLES,
        "load_before": load_before,
        "scores_equal": True,
        "rows": rows,
        "provenance": provenance(),
    }
    write_json(path, document)
    return path


if __name__ == "__main__":
    main()
