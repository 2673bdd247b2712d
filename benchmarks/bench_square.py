"""Claim: Square fools 99 % of the images and keeps an INT8 engine usefully busy 90 % of the time, apart 95 to 96 %.

ResNet20 on CIFAR-10 images, INT8 (per-channel weights, uint8 activations, min-max ranges of 256 other images), or with
``--net mobilenet_v2`` that net on ImageNet images (128 others); eps 8, at most 1000 queries an image, one thread, batch
64. Reference implementations run beside ours on the same engine and images:

    ROBUSTMQ_DATA=... python benchmarks/bench_square.py --autoattack .../autoattack/square.py --torchattacks --art
    ROBUSTMQ_DATA=... python benchmarks/bench_square.py --images 800 --rounds 3 --autoattack ... --torchattacks
    ROBUSTMQ_DATA=... python benchmarks/bench_square.py --images 20 --rounds 1 --no-save

The first two are for the record; the second tells how much of the loss is the end of the run, where few images are left
to fill a batch. "apart" is ours on the same engine in a process of its own (``--isolate``), which computes one batch
while the attacks work on the other; its time is told by that process. ``--autoattack`` names the file of a checkout of
github.com/fra31/auto-attack (needs torch); ``--torchattacks`` and ``--art`` take torchattacks (needs torch) and the
adversarial-robustness-toolbox where they are installed. None is a dependency, and a contender that is not named is not
run. ``--engine FILE`` runs another build of the model, float or quantized.

Every delivered image is rounded to grey levels and judged once more by the production argmax: "claimed" is what the
implementation believes, "verified" what holds within eps. Useful utilisation is the product of three shares: "engine",
the engine's time in the wall time (median of the rounds); "speed", the time an image takes the bare engine at its best
batch in a tight loop to the time it took inside the attack; "useful", the evaluations our run needs to those the
implementation makes. Speed is measured in runs of their own, where every fourth call is followed at once by a bare one;
it is the sum of what the images of those calls would have cost bare to the sum of what they cost: on a machine whose
speed drifts, only neighbours in time can be compared. ART is slow and runs once. Inside the clock: the whole attack
from uint8 or float images, preprocessing included. Outside: decoding, opening, warm-up, verification.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from square_contender import Outcome, art_square, load_autoattack, torch_square, torchattacks_square, versions
from square_subject import BATCH, NETS, SEED, Floats, Subject, open_subject

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.core.statistics import wilson
from robustmq_trt.evaluate.attacks.protocol import AttackResult, Goal, linf_levels
from robustmq_trt.evaluate.attacks.square import SquareLinf
from robustmq_trt.evaluate.oracle import Cost, Oracle
from robustmq_trt.evaluate.scheduler import run_attacks

CURVE = (50, 100, 200, 500, 1000)


class Probe:
    """The engine, with a bare call of it after every fourth call of the attack."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._engine = subject.engine
        self.spec, self.provenance = subject.engine.spec, subject.engine.provenance
        self.calls = 0
        self.inside_s = self.bare_s = 0.0

    def infer(self, batch: Floats) -> Floats:
        """Scores of a batch."""
        began = time.perf_counter_ns()
        scores = self._engine.infer(batch)
        seconds = (time.perf_counter_ns() - began) / 1e9
        self.calls += 1
        if self.calls % 4 == 0:
            self.inside_s += seconds
            self.bare_s += self._subject.bare(self._subject.best_batch, 1) * len(batch)
        return scores


class ApartProbe:
    """The same for the engine in a process of its own; nothing else is under way while the bare call runs."""

    def __init__(self, subject: Subject) -> None:
        self._engine = subject.apart
        self._bare = subject.pipeline.tensor(np.resize(subject.images, (subject.best_batch, *subject.images.shape[1:])))
        self._waiting: list[tuple[Floats, int]] = []
        self._rows: list[int] = []
        self.infer = subject.apart.infer
        self.calls = 0
        self.inside_s = self.bare_s = 0.0

    def submit(self, batch: Floats) -> None:
        """Hand over a batch."""
        self._rows.append(len(batch))
        self._engine.submit(batch)

    def collect(self) -> tuple[Floats, int]:
        """Scores of the oldest batch, and the nanoseconds they took."""
        found = self._waiting.pop() if self._waiting else self._engine.collect()
        rows = self._rows.pop(0)
        self.calls += 1
        if self.calls % 4 == 0:
            self._waiting += [self._engine.collect() for _ in self._rows]
            self.inside_s += found[1] / 1e9
            self._engine.infer(self._bare)
            self._engine.submit(self._bare)
            self.bare_s += self._engine.collect()[1] / 1e9 / len(self._bare) * rows
        return found


def ours(subject: Subject, *, batch: int = BATCH, accept: str = "equal") -> Outcome:
    results, cost, wall = attack_all(subject, batch=batch, accept=accept)
    return Outcome(
        adversarials=np.stack([result.adversarial for result in results]),
        claimed=np.array([result.success for result in results]),
        evaluations=cost.evaluations,
        wall_s=wall,
        queries=np.array([result.queries for result in results]),
        engine_s=cost.engine_ns / 1e9,
    )


def attack_all(subject: Subject, *, batch: int, accept: str) -> tuple[list[AttackResult], Cost, float]:
    attack = SquareLinf(eps=subject.attack.eps, budget=subject.attack.budget, accept=accept)  # type: ignore[arg-type]
    oracle = Oracle(subject.engine, subject.pipeline, batch=batch, budget=attack.budget)
    began = time.perf_counter_ns()
    states = (
        attack.begin(image, Goal(int(label)), image_stream(SEED, attack.task, sha256))
        for image, label, sha256 in zip(subject.images, subject.labels, subject.hashes, strict=True)
    )
    results = run_attacks(states, oracle)
    return results, oracle.cost, (time.perf_counter_ns() - began) / 1e9


def verified(subject: Subject, outcome: Outcome) -> NDArray[np.bool_]:
    """(N,) True where the delivered grey levels are within eps and the production argmax is wrong."""
    distances = [linf_levels(a, b) for a, b in zip(outcome.adversarials, subject.images, strict=True)]
    within = np.array(distances) <= subject.attack.eps
    return within & (subject.scores(outcome.adversarials).argmax(axis=1) != subject.labels)


def check(subject: Subject) -> Outcome:
    """Same bits at batch 1, 64 and all, and apart; no claim that does not hold; nothing outside the ball."""
    runs = [ours(subject, batch=batch) for batch in (BATCH, 1, len(subject.images))]
    runs.append(ours(replace(subject, engine=subject.apart)))
    for run in runs[1:]:
        np.testing.assert_array_equal(run.adversarials, runs[0].adversarials)
        np.testing.assert_array_equal(run.queries, runs[0].queries)
    np.testing.assert_array_equal(verified(subject, runs[0]), runs[0].claimed)
    assert linf_levels(runs[0].adversarials, subject.images) <= subject.attack.eps
    return runs[0]


@dataclass
class Contender:
    """An implementation and its runs."""

    name: str
    run: Callable[[Subject], Outcome]
    once: bool = False
    apart: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    probes: list[Probe | ApartProbe] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Bare time to time inside the attack."""
        return sum(probe.bare_s for probe in self.probes) / sum(probe.inside_s for probe in self.probes)


def contenders(subject: Subject, options: argparse.Namespace) -> Iterator[Contender]:
    yield Contender("robustmq-trt", ours)
    yield Contender("robustmq-trt apart", ours, apart=True)
    yield Contender("robustmq-trt strict", partial(ours, accept="strict"))
    if options.autoattack:
        yield Contender("AutoAttack", partial(torch_square, attack=load_autoattack(options.autoattack).SquareAttack))
    if options.torchattacks:
        yield Contender("torchattacks", torchattacks_square)
    if options.art:
        yield Contender("ART", art_square, once=True)


def measure(subject: Subject, rivals: list[Contender], rounds: int) -> None:
    for turn in range(rounds):
        for rival in rivals:
            if not (turn and rival.once):
                rival.outcomes.append(rival.run(replace(subject, engine=subject.apart) if rival.apart else subject))
    for turn in range(rounds):
        for rival in rivals:
            if not (turn and rival.once):
                rival.probes.append(ApartProbe(subject) if rival.apart else Probe(subject))
                rival.run(replace(subject, engine=rival.probes[-1]))


def summarise(subject: Subject, rival: Contender, needed: int) -> dict[str, Any]:
    last = rival.outcomes[-1]
    holds = verified(subject, last)
    engine = statistics.median(run.engine_s / run.wall_s for run in rival.outcomes)
    useful = needed / last.evaluations
    row: dict[str, Any] = {
        "name": rival.name,
        "claimed": float(last.claimed.mean()),
        "verified": float(holds.mean()),
        "verified_interval": interval(holds),
        "evaluations_per_image": last.evaluations / len(subject.images),
        "wall_s": [run.wall_s for run in rival.outcomes],
        "engine_share": engine,
        "engine_shares": [run.engine_s / run.wall_s for run in rival.outcomes],
        "speed_share": rival.speed,
        "speed_shares": [probe.bare_s / probe.inside_s for probe in rival.probes],
        "useful_share": useful,
        "utilisation": engine * rival.speed * useful,
    }
    if last.queries is not None:
        row |= {
            "queries_mean": float(last.queries.mean()),
            "queries_median": float(np.median(last.queries)),
            "curve": {str(count): float((holds & (last.queries <= count)).mean()) for count in CURVE},
        }
    return row


def interval(successes: NDArray[np.bool_]) -> tuple[float, float]:
    bounds = wilson(int(successes.sum()), len(successes))
    return bounds.low, bounds.high


def show(row: dict[str, Any]) -> str:
    low, high = row["verified_interval"]
    queries = f"{row['queries_mean']:6.1f} {row['queries_median']:6.1f}" if "queries_mean" in row else "     -      -"
    return (
        f"{row['name']:20} {row['claimed']:7.1%} {row['verified']:8.1%} [{low:5.1%}, {high:6.1%}] "
        f"{row['evaluations_per_image']:8.1f} {queries} {statistics.median(row['wall_s']):7.2f} "
        f"{row['engine_share']:6.3f} {row['speed_share']:6.3f} {row['useful_share']:6.3f} {row['utilisation']:6.3f}"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is attacked, how often, and whether it is kept."""
    parser.add_argument("--net", choices=NETS, default="resnet20")
    parser.add_argument("--engine", type=Path, help="an ONNX file instead of the INT8 build made here")
    parser.add_argument("--art", action="store_true", help="run the adversarial-robustness-toolbox too")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--eps", type=int, default=8, help="grey levels")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-save", action="store_true")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--autoattack", type=Path, help="AutoAttack's square.py")
    parser.add_argument("--torchattacks", action="store_true", help="run torchattacks too")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        subject = open_subject(Path(os.environ["ROBUSTMQ_DATA"]), options, Path(folder), apart=True)
        reference = check(subject)
        assert reference.queries is not None
        needed = int(reference.queries.sum())
        count = len(subject.images)
        print(f"{count} images: same bits at batch 1, {BATCH}, {count} and apart; nothing beyond eps")
        rivals = list(contenders(subject, options))
        subject.choose_batch()
        measure(subject, rivals, options.rounds)
        rows = [summarise(subject, rival, needed) for rival in rivals]
    print(f"{'':20} claimed verified  95 % interval  evals/im   mean median  wall s engine  speed useful  util.")
    print("\n".join(show(row) for row in rows))
    print("curve:", json.dumps(rows[0]["curve"]))
    if not options.no_save:
        save(subject, options, rows)


def save(subject: Subject, options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = provenance()
    version = made["packages"].get("onnxruntime", "unknown")
    settings = {key: getattr(options, key) for key in ("net", "images", "eps", "queries", "rounds", "threads")}
    document = {
        "date": today,
        "settings": settings
        | {"batch": BATCH, "best_batch": subject.best_batch, "seed": SEED, "attacked": len(subject.images)},
        "engine": "file" if options.engine else "onnxruntime.quantization, min-max",
        "engine_sha256": subject.engine.provenance()["model_sha256"],
        "rows": rows,
        "contenders": versions(options),
        "provenance": made,
    }
    path = (
        Path(__file__).parent
        / "results"
        / f"square_{options.net}-{len(subject.images)}_{today}_onnxruntime-{version}.json"
    )
    path.parent.mkdir(exist_ok=True)
    write_json(path, document)
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
