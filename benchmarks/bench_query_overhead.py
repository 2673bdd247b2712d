"""Claim: a query attack spends little outside the engine: microseconds a query, per attack and image size.

A stand-in for the engine answers at once with random scores and reads 8 MB in between, so that the attack finds the
caches as a real engine leaves them. Everything but the call itself counts: attack, scheduler, oracle and preprocessing,
whose share stands beside it. Attacks that see labels alone are fooled now and then, as they would be on their way; at
one level of eps that ends nothing. The least of ``--rounds`` runs is shown, since a busy machine only adds.

Asserted first: every image of an attack that reads scores gets its whole budget.

    python benchmarks/bench_query_overhead.py
    python benchmarks/bench_query_overhead.py --rounds 1 --no-save
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.protocol import Goal
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks
from robustmq_trt.inputs.catalog import find_preset

ATTACKS = ("square", "linear", "signhunter", "rays", "adba")
SIZES = ((32, "cifar10", 10, 64, 150), (224, "tflite-mobilenet", 1000, 16, 40))  # preset, classes, images, queries
FOOLED = 0.35
BATCH, SEED = 64, 0


class Stand:
    """Answers at once; label 0 is right but for a share of the answers."""

    def __init__(self, classes: int, fooled: float) -> None:
        self._rng = np.random.default_rng(SEED)
        self._classes, self._fooled = classes, fooled
        self._elsewhere = np.zeros(8 << 20, np.uint8)

    def infer(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Scores of a batch."""
        self._elsewhere.sum()
        scores = self._rng.standard_normal((len(batch), self._classes), dtype=np.float32)
        scores[:, 0] = np.where(self._rng.random(len(batch)) < self._fooled, -9, 9)
        return scores


def overhead(name: str, size: tuple[int, str, int, int, int]) -> tuple[float, float]:
    side, preset, classes, count, budget = size
    entry = QUERY_ATTACKS[name]
    blind = entry.needs == "labels"
    attack = entry.make({**entry.defaults, "queries": budget, "eps": 1 if blind else 8})
    images = np.random.default_rng(SEED).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    pipeline = find_preset(preset).for_size(side, side)
    engine = Stand(classes, FOOLED if blind else 0)
    oracle = Oracle(engine, pipeline, batch=BATCH, budget=budget, score_access="label" if blind else "logits")
    began = time.perf_counter_ns()
    states = (
        attack.begin(image, Goal(0), image_stream(SEED, attack.task, str(number)))
        for number, image in enumerate(images)
    )
    results = run_attacks(states, oracle)
    wall = time.perf_counter_ns() - began
    assert blind or all(result.queries == budget for result in results)
    cost = oracle.cost
    return (wall - cost.engine_ns) / cost.queries / 1e3, cost.preprocessing_ns / cost.queries / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    rows = []
    for size in SIZES:
        for name in ATTACKS:
            whole, preprocessing = np.min([overhead(name, size) for _ in range(options.rounds)], axis=0)
            rows.append({"attack": name, "side": size[0], "us": float(whole), "preprocessing_us": float(preprocessing)})
            print(f"{size[0]:4} {name:12} {whole:7.1f} us a query, {preprocessing:6.1f} of it preprocessing")
    if not options.no_save:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        document = {"date": today, "rounds": options.rounds, "rows": rows, "provenance": provenance()}
        path = Path(__file__).parent / "results" / f"query_overhead_{today}_numpy-{np.__version__}.json"
        write_json(path, document)
        print(f"written: {path.name}")


if __name__ == "__main__":
    main()
