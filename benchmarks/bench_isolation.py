"""What a process of its own costs an engine: batches through the child against batches in this process, in turns.

    python benchmarks/bench_isolation.py [MODEL.onnx ...]

The scores are compared bit for bit before anything is timed. Both engines take turns on the same batch; what is
reported is the median of each and the median of the paired differences, with a 95 % bootstrap interval. ``--save``
writes ``benchmarks/results/isolation_DATE_onnxruntime-VERSION.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from robustmq_trt import assets
from robustmq_trt.core.files import sha256_file
from robustmq_trt.core.provenance import provenance
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.engines.child import Isolation
from robustmq_trt.engines.protocol import Engine

BATCHES = (1, 8, 32)
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, default=[assets.model_path()])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    rows = [row for model in options.models for row in measured(model, options.rounds)]
    print(
        "| model | batch | in this process ms | in a child ms | difference ms [95 %] | n |\n|---|---|---|---|---|---|"
    )
    for row in rows:
        low, high = row["difference_ms_interval"]
        print(
            f"| {row['model']} | {row['batch']} | {row['here_ms']:.3f} | {row['child_ms']:.3f} | "
            f"{row['difference_ms']:.3f} [{low:.3f}, {high:.3f}] | {row['n']} |"
        )
    if options.save:
        print("written:", save(rows))


def measured(model: Path, rounds: int) -> list[dict[str, Any]]:
    """Time one model at each batch size."""
    started = time.perf_counter()
    apart = open_engine(model, threads=1, isolate=Isolation())
    open_seconds = time.perf_counter() - started
    here = open_engine(model, threads=1)
    rng = np.random.default_rng(SEED)
    rows = []
    for size in BATCHES:
        batch = rng.normal(size=(size, *here.spec.image_shape)).astype(np.float32)
        assert np.array_equal(here.infer(batch), apart.infer(batch))
        times = np.array([[_milliseconds(engine, batch) for engine in (here, apart)] for _ in range(rounds + 5)])[5:]
        differences = times[:, 1] - times[:, 0]
        resampled = np.median(rng.choice(differences, (1000, rounds)), axis=1)
        rows.append(
            {
                "model": model.name,
                "model_sha256": sha256_file(model),
                "batch": size,
                "batch_bytes": batch.nbytes,
                "here_ms": float(np.median(times[:, 0])),
                "child_ms": float(np.median(times[:, 1])),
                "difference_ms": float(np.median(differences)),
                "difference_ms_interval": [float(q) for q in np.percentile(resampled, (2.5, 97.5))],
                "child_open_seconds": open_seconds,
                "n": rounds,
            }
        )
    apart.close()
    here.close()
    return rows


def _milliseconds(engine: Engine, batch: np.ndarray) -> float:
    started = time.perf_counter_ns()
    engine.infer(batch)
    return (time.perf_counter_ns() - started) / 1e6


def save(rows: list[dict[str, Any]]) -> Path:
    """Write the rows beside the other results."""
    import onnxruntime

    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    name = f"isolation_{date}_onnxruntime-{onnxruntime.__version__}.json"
    path = Path(__file__).parent / "results" / name
    path.write_text(json.dumps({"date": date, "seed": SEED, "rows": rows, "provenance": provenance()}, indent=1) + "\n")
    return path


if __name__ == "__main__":
    main()
