"""Claim: rounding hides the way from attacks that compare two answers, not from one that averages over all of them.

Every attack named (``--attack``, as on the command line; ``accept=strict`` is Square as the libraries have it) is run
on an INT8 engine and on its float model, on the images that the engine gets right, with the engine judging what is
delivered once more. No setting is fitted to a network. With several seeds a row is the mean over them, its interval a
bootstrap over images, which each seed attacks anew; ``by_seed`` has every seed's own rate and exact McNemar test.

    ROBUSTMQ_DATA=... python benchmarks/bench_plateau.py --images 200 --seeds 3          # ResNet20, the record
    ROBUSTMQ_DATA=... python benchmarks/bench_plateau.py --net mobilenet --images 40 --attack ...
    ROBUSTMQ_DATA=... python benchmarks/bench_plateau.py --images 10 --no-save

ResNet20 is quantized by ONNX Runtime's own quantizer (min-max ranges of 256 other images, per-channel weights, uint8
activations). MobileNetV2 likewise, of 64 other images. ``start=`` takes its images from MI-FGSM (or what it names) on a
model that the attacker must hold, named in each row: another float network (ResNet56 for ResNet20, the QAT-trained
MobileNetV2 for MobileNetV2; no other here fits its size), with `` from float`` behind the attack the float model of the
same network, with `` from engine`` the INT8 file itself, through whose rounding gradients pass straight. Accuracy only:
nothing here is timed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_square import interval
from numpy.typing import NDArray
from square_subject import Subject, build

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.core.statistics import mcnemar_exact, paired_bootstrap
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.evaluate.attacks.catalog import ATTACKS, parse_attack, start_of
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.attacks.protocol import Goal, linf_levels
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
from robustmq_trt.evaluate.attacks.square import SquareLinf
from robustmq_trt.evaluate.conditions import Condition
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks
from robustmq_trt.evaluate.score_access import SCORE_ACCESS
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.sources import open_dataset

SEED = 0
BATCH = 32
CURVE = (50, 100, 200, 500, 1000)
# Network: preset, images, model, another float model to take starts from, images for the ranges.
NETS = {
    "resnet20": ("cifar10", "cifar10_2000", "resnet20_cifar10_float.onnx", "resnet56_cifar10_float.onnx", 256),
    "mobilenet": ("tflite-mobilenet", "imagenet600", "mobilenet_v2_float.onnx", "mobilenet_v2_qat_float.onnx", 64),
}
STRICT = ",accept=strict"
FROM = " from "
HELD = {"": "another network", "float": "the float model", "engine": "the engine's file"}
USUAL = (
    "square:eps=2,queries=500,accept=strict",
    "square:eps=2,queries=500",
    "linear:eps=2,queries=500",
    "linear:eps=2,queries=500,start=mifgsm",
    "linear:eps=2,queries=500,start=mifgsm from float",
    "linear:eps=2,queries=500,start=mifgsm from engine",
)


@dataclass(frozen=True)
class Outcome:
    """One attack on one engine with one seed: who was fooled after how many queries, and who by the start alone."""

    fooled: NDArray[np.bool_]
    queries: NDArray[np.int64]
    start_alone: float | None


def open_subjects(net: str, count: int, folder: Path, threads: int) -> tuple[dict[str, Subject], dict[str, Twin]]:
    """The INT8 engine and its float model, each with the first images it gets right, and the twins starts come from."""
    preset, images, model, other, calibration = NETS[net]
    data = Path(os.environ["ROBUSTMQ_DATA"])
    pipeline = find_preset(preset)
    seen, rest = open_dataset(data / "data" / images).split(calibration, SEED)
    ranges = load_images(seen, pipeline, threads=1)
    candidates = load_images(rest.subset(min(4 * count, len(rest.samples)), SEED), pipeline, threads=1)
    source = data / "models" / model
    built = build(source, pipeline.tensor(ranges.images), folder)
    subjects = {}
    for name, path in (("int8", built), ("float", source)):
        engine = OnnxRuntimeEngine.open(path, threads=threads)
        scores = np.concatenate([engine.infer(pipeline.tensor(image[None])) for image in candidates.images])
        right = np.flatnonzero(scores.argmax(axis=1) == candidates.labels)[:count]
        subjects[name] = Subject(
            engine=engine,
            pipeline=pipeline,
            images=candidates.images[right],
            labels=candidates.labels[right],
            hashes=[candidates.hashes[i] for i in right],
            attack=SquareLinf(eps=1),
        )
    held = {"": data / "models" / other, "float": source, "engine": built}
    return subjects, {name: Twin.open(path, pipeline, threads=threads) for name, path in held.items()}


def starts_of(condition: Condition, subject: Subject, twin: Twin, seed: int) -> NDArray[np.uint8] | None:
    first = start_of(condition)
    if first is None:
        return None
    entry = ATTACKS[first.name]
    task = TransferTask(images=subject.images, labels=subject.labels, hashes=subject.hashes, source=twin, seed=seed)
    made: NDArray[np.uint8] = entry.craft(task, dict(first.settings)).adversarials  # type: ignore[union-attr]
    return made


def attacked(spec: str, subject: Subject, twins: dict[str, Twin], access: str, seed: int) -> Outcome:
    """One attack on one engine, its claims checked against the engine."""
    named, _, held = spec.partition(FROM)
    condition = parse_attack(named.removesuffix(STRICT))
    attack = QUERY_ATTACKS[condition.name].make(dict(condition.settings))
    if spec.endswith(STRICT):
        assert isinstance(attack, SquareLinf)
        attack = replace(attack, accept="strict")
    starts = starts_of(condition, subject, twins[held], seed)
    states = (
        attack.begin(
            subject.images[i],
            Goal(int(subject.labels[i])),
            image_stream(seed, attack.task, subject.hashes[i]),
            None if starts is None else starts[i],
        )
        for i in range(len(subject.images))
    )
    oracle = Oracle(subject.engine, subject.pipeline, batch=BATCH, budget=attack.budget, score_access=access)  # type: ignore[arg-type]
    results = run_attacks(states, oracle)
    claimed = np.array([result.success for result in results])
    delivered = np.stack([result.adversarial for result in results])
    np.testing.assert_array_equal(subject.scores(delivered).argmax(axis=1) != subject.labels, claimed)
    if QUERY_ATTACKS[condition.name].norm == "linf":
        assert linf_levels(delivered, subject.images) <= condition["eps"]
    alone = None if starts is None else float((subject.scores(starts).argmax(axis=1) != subject.labels).mean())
    return Outcome(claimed, np.array([result.queries for result in results]), alone)


def row_of(spec: str, outcomes: list[Outcome], first: list[Outcome]) -> dict[str, Any]:
    """The figures of an attack over its seeds, tested against the first attack on the same engine."""
    fooled, queries = np.stack([one.fooled for one in outcomes]), np.stack([one.queries for one in outcomes])
    rates, none = fooled.mean(axis=0), np.zeros(fooled.shape[1])
    spread = paired_bootstrap(rates, none, seed=0)
    pairs = list(zip(outcomes, first, strict=False))  # a run cut short has fewer seeds of the later attacks
    against = np.mean([other.fooled for _, other in pairs], axis=0)
    difference = paired_bootstrap(rates, against, seed=0)
    row: dict[str, Any] = {
        "attack": spec,
        "success": float(fooled.mean()),
        "interval": interval(fooled[0]) if len(fooled) == 1 else [spread.low, spread.high],
        "n": fooled.shape[1],
        "seeds": len(fooled),
        "by_seed": [
            {
                "success": float(one.fooled.mean()),
                "interval": interval(one.fooled),
                "p_against_first": mcnemar_exact(
                    int((one.fooled & ~other.fooled).sum()), int((other.fooled & ~one.fooled).sum())
                ),
            }
            for one, other in pairs
        ],
        "difference_to_first": [difference.value, difference.low, difference.high],
        "queries_mean": float(queries.mean()),
        "queries_median": float(np.median(queries)),
        "curve": {str(mark): float((fooled & (queries <= mark)).mean()) for mark in CURVE},
    }
    if outcomes[0].start_alone is not None:
        row["start_alone"] = outcomes[0].start_alone
        row["attacker_holds"] = HELD[spec.partition(FROM)[2]]
    return row


def show(engine: str, spec: str, access: str, seed: int, outcome: Outcome) -> None:
    low, high = interval(outcome.fooled)
    start = "" if outcome.start_alone is None else f"  start alone {outcome.start_alone:.1%}"
    print(
        f"{engine:6} {spec:50} {access:13} seed {seed} {outcome.fooled.mean():6.1%} [{low:.1%}, {high:.1%}] "
        f"n={len(outcome.fooled)} queries {outcome.queries.mean():.0f}/{np.median(outcome.queries):.0f}{start}",
        flush=True,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=NETS, default="resnet20")
    parser.add_argument("--attack", action="append", help="as in evaluate; the first is what the others are tested on")
    parser.add_argument("--score-access", choices=SCORE_ACCESS, default="logits")
    parser.add_argument("--engine", choices=("both", "int8", "float"), default="both")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="plateau", help="of the result file")
    parser.add_argument("--no-save", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = parse()
    specs = options.attack or USUAL
    with tempfile.TemporaryDirectory() as folder:
        subjects, twins = open_subjects(options.net, options.images, Path(folder), options.threads)
        models = {name: one.engine.provenance()["model_sha256"] for name, one in subjects.items()}
        chosen = {name: one for name, one in subjects.items() if options.engine in ("both", name)}
        found: dict[str, dict[str, list[Outcome]]] = {name: {spec: [] for spec in specs} for name in chosen}
        for seed in range(options.seeds):
            for spec in specs:
                for name, subject in chosen.items():
                    outcome = attacked(spec, subject, twins, options.score_access, seed)
                    found[name][spec].append(outcome)
                    show(name, spec, options.score_access, seed, outcome)
                if not options.no_save:  # after every attack, so that a run cut short has its figures
                    save(options, found, models)


def save(options: argparse.Namespace, found: dict[str, dict[str, list[Outcome]]], models: dict[str, Any]) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = provenance()
    version = made["packages"].get("onnxruntime", "unknown")
    rows = [
        row_of(spec, outcomes, next(iter(listed.values()))) | {"engine": engine, "score_access": options.score_access}
        for engine, listed in found.items()
        for spec, outcomes in listed.items()
        if outcomes
    ]
    document = {
        "date": today,
        "net": options.net,
        "start_from": NETS[options.net][3],
        "settings": {"seeds": options.seeds, "batch": BATCH, "threads": options.threads, "images": options.images},
        "model_sha256": models,
        "rows": rows,
        "provenance": made,
    }
    path = Path(__file__).parent / "results" / f"{options.name}_{options.net}_{today}_onnxruntime-{version}.json"
    write_json(path, document)


if __name__ == "__main__":
    main()
