"""Claim: rounding hides the way from attacks that compare two answers, not from one that averages over all of them.

Every attack named (``--attack``, as on the command line) is run on an INT8 engine and on its float model, on the images
that the engine gets right, with the engine judging what is delivered once more. No setting is fitted to a network.

    ROBUSTMQ_DATA=... python benchmarks/bench_plateau.py --images 200                    # ResNet20, the record
    ROBUSTMQ_DATA=... python benchmarks/bench_plateau.py --net mobilenet --images 40 --attack ...
    ROBUSTMQ_DATA=... python benchmarks/bench_plateau.py --images 10 --no-save

ResNet20 is quantized by ONNX Runtime's own quantizer (min-max ranges of 256 other images, per-channel weights, uint8
activations). MobileNetV2 likewise, of 64 other images. ``start=`` takes its images from MI-FGSM (or what it names) on
another float network: ResNet56 for ResNet20, the QAT-trained MobileNetV2 for MobileNetV2 (no other here fits its
size). Accuracy only: nothing here is timed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bench_square import Subject, build, interval
from numpy.typing import NDArray

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.core.statistics import mcnemar_exact
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.evaluate.attacks.catalog import ATTACKS, parse_attack, start_of
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.attacks.protocol import linf_levels
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
USUAL = (
    "square:eps=2,queries=500",
    "linear:eps=2,queries=500",
    "square:eps=2,queries=500,start=mifgsm",
    "linear:eps=2,queries=500,start=mifgsm",
)


def open_subjects(net: str, count: int, folder: Path, threads: int) -> tuple[dict[str, Subject], Twin]:
    """The INT8 engine and its float model, each with the first images it gets right, and where starts come from."""
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
    return subjects, Twin.open(data / "models" / other, pipeline, threads=threads)


def starts_of(condition: Condition, subject: Subject, twin: Twin) -> NDArray[np.uint8] | None:
    first = start_of(condition)
    if first is None:
        return None
    entry = ATTACKS[first.name]
    task = TransferTask(images=subject.images, labels=subject.labels, hashes=subject.hashes, source=twin, seed=SEED)
    made: NDArray[np.uint8] = entry.craft(task, dict(first.settings)).adversarials  # type: ignore[union-attr]
    return made


def attacked(condition: Condition, subject: Subject, twin: Twin, access: str) -> dict[str, Any]:
    """One attack on one engine, its claims checked against the engine."""
    attack = QUERY_ATTACKS[condition.name].make(dict(condition.settings))
    starts = starts_of(condition, subject, twin)
    states = (
        attack.begin(
            subject.images[i],
            int(subject.labels[i]),
            image_stream(SEED, attack.task, subject.hashes[i]),
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
    queries = np.array([result.queries for result in results])
    row: dict[str, Any] = {
        "attack": condition.label,
        "score_access": access,
        "success": float(claimed.mean()),
        "interval": interval(claimed),
        "n": len(claimed),
        "queries_mean": float(queries.mean()),
        "queries_median": float(np.median(queries)),
        "curve": {str(mark): float((claimed & (queries <= mark)).mean()) for mark in CURVE},
        "fooled": claimed.tolist(),
    }
    if starts is not None:
        row["start_alone"] = float((subject.scores(starts).argmax(axis=1) != subject.labels).mean())
    return row


def show(engine: str, row: dict[str, Any]) -> None:
    low, high = row["interval"]
    start = f"  start alone {row['start_alone']:.1%}" if "start_alone" in row else ""
    print(
        f"{engine:6} {row['attack']:42} {row['score_access']:13} {row['success']:6.1%} [{low:.1%}, {high:.1%}] "
        f"n={row['n']} queries {row['queries_mean']:.0f}/{row['queries_median']:.0f}{start}",
        flush=True,
    )


def compared(rows: list[dict[str, Any]]) -> None:
    """Add to each row its exact McNemar test against the first attack on the same engine."""
    first = np.array(rows[0]["fooled"])
    for row in rows:
        fooled = np.array(row["fooled"])
        row["p_against_first"] = mcnemar_exact(int((fooled & ~first).sum()), int((first & ~fooled).sum()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=NETS, default="resnet20")
    parser.add_argument("--attack", action="append", help="as in evaluate; the first is what the others are tested on")
    parser.add_argument("--score-access", choices=SCORE_ACCESS, default="logits")
    parser.add_argument("--engine", choices=("both", "int8", "float"), default="both")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="plateau", help="of the result file")
    parser.add_argument("--no-save", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = parse()
    conditions = [parse_attack(spec) for spec in options.attack or USUAL]
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        subjects, twin = open_subjects(options.net, options.images, Path(folder), options.threads)
        for name, subject in subjects.items():
            if options.engine not in ("both", name):
                continue
            found[name] = []
            for condition in conditions:
                found[name].append(attacked(condition, subject, twin, options.score_access))
                show(name, found[name][-1])
                compared(found[name])
                if not options.no_save:  # after every attack, so that a run cut short has its figures
                    save(
                        options, found, {key: one.engine.provenance()["model_sha256"] for key, one in subjects.items()}
                    )


def save(options: argparse.Namespace, found: dict[str, list[dict[str, Any]]], models: dict[str, Any]) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = provenance()
    version = made["packages"].get("onnxruntime", "unknown")
    rows = [
        {key: value for key, value in row.items() if key != "fooled"} | {"engine": engine}
        for engine, listed in found.items()
        for row in listed
    ]
    document = {
        "date": today,
        "net": options.net,
        "start_from": NETS[options.net][3],
        "settings": {"seed": SEED, "batch": BATCH, "threads": options.threads, "images": options.images},
        "model_sha256": models,
        "rows": rows,
        "provenance": made,
    }
    path = Path(__file__).parent / "results" / f"{options.name}_{options.net}_{today}_onnxruntime-{version}.json"
    write_json(path, document)


if __name__ == "__main__":
    main()
