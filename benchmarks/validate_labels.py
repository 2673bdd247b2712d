"""Claim: our label attacks are no weaker than their authors' code, run beside ours on a float engine.

    ROBUSTMQ_DATA=... python benchmarks/validate_labels.py --rays .../RayS.py --adba .../code/ADBA.py
    ROBUSTMQ_DATA=... python benchmarks/validate_labels.py --hopskipjump .../hsja.py --surfree .../surfree.py

A second run replaces the rows of the attacks it names. The files are those of github.com/uclaml/RayS, Jianbo-Lab/HSJA,
BUPTAIOC/ADBA and t-maho/SurFree; they need torch, and none is a dependency; one that is not named is not run. ResNet20
in float, images it gets right, one at a time.

Every query of both is looked at: the figure is the smallest distance (L-inf; L2 for SurFree; in grey levels) at which
the label was seen to change within the budget, and how many queries it took to come within eps. Each attack draws its
own random numbers. The references search float images; ours asks and delivers uint8 ones, so L-inf distances of both
are rounded up to whole levels. The clean check is not counted on either side. Paired over images: the bootstrap
interval of the mean difference of log distances, and of mean queries; exact McNemar for success at eps. HopSkipJump's
authors estimate a gradient from 100 sqrt(t) probes and ours from 20 sqrt(t): "hopskipjump-20" is theirs with 20.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_plateau import open_subjects
from bench_square import interval
from label_contenders import Contender, Floats, load, quietly
from numpy.typing import NDArray
from square_contender import FloatOracle, float_pixels
from square_subject import Subject

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.core.statistics import mcnemar_exact, paired_bootstrap
from robustmq_trt.evaluate.attacks.protocol import Answer, Goal
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS

SEED = 0
_SLACK = 1e-3  # of a level: what float32 makes of whole levels
VARIANTS = {
    "rays": ("rays",),
    "hopskipjump": ("hopskipjump", "hopskipjump-20"),
    "adba": ("adba",),
    "surfree": ("surfree",),
}


class BudgetSpentError(Exception):
    """Ends an attack that would go on."""


@dataclass
class Trace:
    """What the queries of one attack on one image came to.

    Attributes:
        image: (3, H, W) float32 in [0, 1].
        label: Its right class.
        norm: ``"linf"`` or ``"l2"``.
        eps: Radius in grey levels.
        budget: Most queries.
    """

    image: Floats
    label: int
    norm: str
    eps: int
    budget: int
    asked: int = 0
    nearest: float = float("inf")
    reached_after: int | None = None

    def watched(self, oracle: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
        """Give the oracle, with every query but those for the clean image looked at."""

        def answering(pixels: Floats) -> Floats:
            scores = oracle(pixels)
            for image, row in zip(pixels, scores, strict=True):
                self._look(image, int(row.argmax()))
            return scores

        return answering

    def _look(self, pixels: Floats, answer: int) -> None:
        moved = (pixels.astype(np.float64) - self.image) * 255
        if not moved.any():
            return
        distance = float(np.ceil(np.abs(moved).max() - _SLACK) if self.norm == "linf" else np.sqrt((moved**2).sum()))
        if self.asked >= self.budget:
            raise BudgetSpentError
        self.asked += 1
        if answer != self.label and distance < self.nearest:
            self.nearest = distance
            if self.reached_after is None and distance <= self.eps + _SLACK:
                self.reached_after = self.asked


def theirs(run: Contender, trace: Trace, oracle: FloatOracle) -> None:
    try:
        quietly(lambda: run(trace.watched(oracle), trace.image, trace.label))
    except BudgetSpentError:
        return


def ours(name: str, trace: Trace, subject: Subject, i: int, oracle: FloatOracle) -> None:
    """Our attack, kept from stopping by the smallest eps there is."""
    attack = QUERY_ATTACKS[name].make({"eps": 1, "queries": trace.budget + 2})
    state = attack.begin(subject.images[i], Goal(trace.label), image_stream(SEED, attack.task, subject.hashes[i]))
    answering = trace.watched(oracle)
    canvas = np.empty_like(subject.images[i])
    try:
        while not state.done:
            state.propose(canvas)
            pixels = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)
            answer = int(answering(pixels)[0].argmax())
            seen = np.eye(10, dtype=np.float32)[answer]
            state.tell(Answer(seen, 1.0 if answer == trace.label else -1.0, wrong=answer != trace.label))
    except BudgetSpentError:
        return


def compared(variant: str, run: Contender, subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    name = variant.partition("-")[0]
    norm = QUERY_ATTACKS[name].norm
    eps = options.eps if norm == "linf" else options.eps_l2
    oracle = FloatOracle(subject)
    traces: dict[str, list[Trace]] = {"theirs": [], "ours": []}
    for i, (image, label) in enumerate(zip(float_pixels(subject), subject.labels, strict=True)):
        for side, found in traces.items():
            found.append(Trace(image, int(label), norm, eps, options.queries))
            if side == "ours":
                ours(name, found[-1], subject, i, oracle)
            else:
                theirs(run, found[-1], oracle)
    return row_of(variant, traces, eps)


def row_of(name: str, traces: dict[str, list[Trace]], eps: int) -> dict[str, Any]:
    row: dict[str, Any] = {"attack": name, "eps": eps, "n": len(traces["ours"])}
    columns: dict[str, dict[str, NDArray[Any]]] = {}
    for side, found in traces.items():
        reached = np.array([trace.reached_after is not None for trace in found])
        distances = np.array([min(trace.nearest, 255.0 * trace.image.size**0.5) for trace in found])
        queries = np.array([trace.reached_after or trace.budget for trace in found], dtype=np.float64)
        columns[side] = {"reached": reached, "logs": np.log(distances), "queries": queries}
        row[side] = {
            "nearest_median": float(np.median(distances)),
            "success_at_eps": float(reached.mean()),
            "success_interval": interval(reached),
            "queries_median": float(np.median(queries)),
            "queries_mean": float(queries.mean()),
        }
    mine, other = columns["ours"], columns["theirs"]
    ratio = paired_bootstrap(mine["logs"], other["logs"], seed=SEED)
    row["distance_ratio"] = [float(np.exp(bound)) for bound in (ratio.value, ratio.low, ratio.high)]
    queries = paired_bootstrap(mine["queries"], other["queries"], seed=SEED)
    row["queries_difference"] = [queries.value, queries.low, queries.high]
    gained, lost = (int((a["reached"] & ~b["reached"]).sum()) for a, b in ((mine, other), (other, mine)))
    row["success_p"] = mcnemar_exact(gained, lost)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in VARIANTS:
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--eps", type=int, default=8)
    parser.add_argument("--eps-l2", type=int, default=127)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        subject = open_subjects("resnet20", options.images, Path(folder), 1)[0]["float"]
        for name, variants in VARIANTS.items():
            if path := getattr(options, name):
                for variant in variants:
                    rows.append(compared(variant, load(variant, path), subject, options))
                    print(rows[-1], flush=True)
                    if not options.no_save:  # after every attack, so that a run cut short has its figures
                        save(options, rows)


def save(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    settings = {"queries": options.queries, "images": options.images, "seed": SEED, "net": "resnet20 float"}
    path = Path(__file__).parent / "results" / f"validate_labels_{today}.json"
    again = {row["attack"] for row in rows}
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [row for row in before if row["attack"] not in again] + rows
    write_json(path, {"date": today, "settings": settings, "rows": rows, "provenance": provenance()})


if __name__ == "__main__":
    main()
