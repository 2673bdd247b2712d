"""Claim: four vendor .tflite engines keep their published accuracy, and 64 images are enough to find their contract.

    ROBUSTMQ_DATA=... python benchmarks/bench_vendor_tflite.py    # for the record, some 6 minutes of CPU
    ROBUSTMQ_DATA=... python benchmarks/bench_vendor_tflite.py --images 50 --square 5 --no-save

Each engine is given without a word to ``diagnose`` with 64 labelled images; the contract it finds must be the one
the vendor published (pixels 0..255 as they are, RGB, NHWC, a background class in front, uint8 softmax). With that
manifest, and nothing else, it answers the images, on XNNPACK and on LiteRT's own kernels: accuracy with Wilson's
interval, the paired difference of the two, the flips and the largest difference of a score in levels. The published
accuracies are of 1000 images, ours of the 600 of them that are at hand, so the check is that they lie in the interval.

The images of the diagnosis are among those the accuracy is measured on: it chooses one of 20 contracts, not a
parameter of the engine. `held_out` is the accuracy on the others.

Square (eps 8, 1000 queries) attacks one engine through its uint8 softmax. Every delivered image is judged once more,
outside the attack: a success must have another argmax and lie within eps; ties are counted on both sides.

One thread; only accuracies are measured, no times.
"""

from __future__ import annotations

import argparse
import datetime
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustmq_trt.core.files import write_json
from robustmq_trt.core.manifest import Manifest
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.core.statistics import paired_difference, wilson
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.evaluate.attacks.protocol import Goal, linf_levels
from robustmq_trt.evaluate.attacks.square import SquareLinf
from robustmq_trt.evaluate.diagnosis import Diagnosis, diagnose
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks
from robustmq_trt.evaluate.vendor import Fitted, fit
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.dataset import Dataset
from robustmq_trt.inputs.loader import Loaded, load_images
from robustmq_trt.inputs.sources import open_dataset

# Published beside the files, on 1000 images.
PUBLISHED = {
    "tf2_mobilenet_v2_1.0_224_ptq": 0.894,
    "mobilenet_v2_1.0_224_quant": 0.885,
    "mobilenet_v1_0.75_192_quant": None,
    "mobilenet_v1_0.25_128_quant": None,
}
CONTRACT = {"range": "0..255", "colour": "rgb", "layout": "nhwc", "kind": "uint8-scores", "offset": 1, "classes": 1000}
ATTACKED = "mobilenet_v1_0.25_128_quant"
DIAGNOSED, SEED, EPS, QUERIES, BATCH = 64, 0, 8, 1000, 16
KERNELS = ("litert", "litert-builtin")
Floats = NDArray[np.float32]


def scores(fitted: Fitted, images: NDArray[np.uint8]) -> Floats:
    parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    return np.concatenate([fitted.engine.infer(fitted.pipeline.tensor(part)) for part in parts])


def loaded(data: Dataset, side: int) -> Loaded:
    found = load_images(data, find_preset("torchvision").for_size(side, side), threads=1)
    assert not found.failures
    return found


def found_contract(path: Path, data: Dataset, seed: int) -> Diagnosis:
    """Ask the engine what it is, from images of one seed."""
    engine = open_engine(path, threads=1)
    some = loaded(data.subset(min(DIAGNOSED, len(data)), seed), engine.spec.height)
    pipeline = find_preset("torchvision").for_size(engine.spec.height, engine.spec.width)
    return diagnose(engine, pipeline, some.images, some.labels, classes=1000)


def measured(path: Path, manifest: Manifest, data: Dataset) -> dict[str, Any]:
    """Accuracy on both kinds of kernels, and how they differ."""
    row: dict[str, Any] = {}
    answers, outputs = {}, {}
    for kernels in KERNELS:
        fitted = fit(open_engine(f"{kernels}:{path}", threads=1), find_preset("torchvision"), manifest)
        images = loaded(data, fitted.engine.spec.height)
        outputs[kernels] = scores(fitted, images.images)
        top = outputs[kernels].max(axis=1, keepdims=True)
        answers[kernels] = outputs[kernels].argmax(axis=1)
        right = answers[kernels] == images.labels
        rest = right[DIAGNOSED:] if len(right) > DIAGNOSED else right
        audit = fitted.engine.audit()
        row[kernels] = {
            "accuracy": interval(right),
            "held_out": interval(rest),
            "tied_top": interval((outputs[kernels] == top).sum(axis=1) > 1),
            "integer_coverage": audit.integer_coverage,
            "notes": list(audit.notes),
            "provenance": {
                key: value for key, value in fitted.engine.provenance().items() if key not in ("cpu", "adapted")
            },
        }
        fitted.engine.close()
    difference = paired_difference(*(answers[kernels] == images.labels for kernels in KERNELS), seed=SEED)
    row["xnnpack_minus_builtin"] = {
        "difference": difference.difference,
        "low": difference.low,
        "high": difference.high,
        "p_value": difference.p_value,
        "answers_flipped": int((answers["litert"] != answers["litert-builtin"]).sum()),
        "largest_score_difference_levels": float(np.abs(outputs["litert"] - outputs["litert-builtin"]).max() * 256),
    }
    return row


def attacked(path: Path, manifest: Manifest, data: Dataset, count: int) -> dict[str, Any]:
    """Square through the uint8 softmax, every delivered image judged again."""
    fitted = fit(open_engine(path, threads=1), find_preset("torchvision"), manifest)
    images = loaded(data, fitted.engine.spec.height)
    right = np.flatnonzero(scores(fitted, images.images).argmax(axis=1) == images.labels)[:count]
    attack = SquareLinf(eps=EPS, budget=QUERIES)
    oracle = Oracle(
        fitted.engine,
        fitted.pipeline,
        batch=BATCH,
        budget=QUERIES,
        score_access="uint8-scores",
        output_kind=fitted.engine.spec.output_kind,
    )
    states = (
        attack.begin(
            images.images[i], Goal(int(images.labels[i])), image_stream(SEED, attack.task, images.hashes[i]), None
        )
        for i in right
    )
    results = run_attacks(states, oracle)
    claimed = np.array([result.success for result in results])
    delivered = np.stack([result.adversarial for result in results])
    again = scores(fitted, delivered)
    verified = again.argmax(axis=1) != images.labels[right]
    tied = (again == again.max(axis=1, keepdims=True)).sum(axis=1) > 1
    linf = [linf_levels(result.adversarial, images.images[i]) for result, i in zip(results, right, strict=True)]
    assert np.array_equal(claimed, verified), "a success is not one, or one was overlooked"
    assert max(linf) <= EPS
    # A tie with the label on a higher index is a wrong answer in production; with it on the lowest, a right one.
    own = again[np.arange(len(right)), images.labels[right]]
    return {
        "engine": path.stem,
        "attack": str(attack.task),
        "score_access": "uint8-scores",
        "images": len(right),
        "fooled": interval(verified),
        "mean_queries_of_fooled": float(np.mean([r.queries for r, won in zip(results, claimed, strict=True) if won])),
        "queries": [int(result.queries) for result in results],
        "fooled_with_tied_top": int((verified & tied).sum()),
        "of_these_label_among_the_tied": int((verified & tied & (own == again.max(axis=1))).sum()),
        "unfooled_with_tied_top": int((~verified & tied).sum()),
        "claimed_equals_verified": True,
        "largest_linf": int(max(linf)),
        "plateau_proposals_share": float(
            sum(result.ties for result in results) / max(1, sum(result.queries for result in results))
        ),
    }


def interval(hits: NDArray[np.bool_]) -> dict[str, float]:
    found = wilson(int(hits.sum()), len(hits))
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3, help="diagnoses of each engine, on other images each")
    parser.add_argument("--square", type=int, default=50, help="images that Square attacks")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    root = Path(os.environ["ROBUSTMQ_DATA"])
    data = open_dataset(root / "data" / "imagenet600")
    data = data.subset(options.images, SEED)
    engines = {}
    for name, published in PUBLISHED.items():
        path = root / "models" / f"{name}.tflite"
        diagnoses = [found_contract(path, data, seed) for seed in range(options.seeds)]
        contracts = [{key: found.manifest.to_json().get(key) for key in CONTRACT} for found in diagnoses]
        row = measured(path, diagnoses[0].manifest, data)
        accuracy = row["litert"]["accuracy"]
        row["published_on_1000"] = published
        row["published_in_interval"] = None if published is None else accuracy["low"] <= published <= accuracy["high"]
        row["contract_found"] = [contract == CONTRACT for contract in contracts]
        row["diagnoses"] = [found.to_json() for found in diagnoses]
        engines[name] = row
        builtin = row["litert-builtin"]["accuracy"]["value"]
        print(
            f"{name}: {accuracy['value']:.4f} [{accuracy['low']:.4f}, {accuracy['high']:.4f}] n {accuracy['n']}, "
            f"built-in {builtin:.4f}, published {published}, contract found {row['contract_found']}",
            flush=True,
        )
    attack = attacked(root / "models" / f"{ATTACKED}.tflite", Manifest(**CONTRACT), data, options.square)
    print({key: value for key, value in attack.items() if key != "queries"})
    assert all(all(row["contract_found"]) for row in engines.values()), "a contract was not found"
    assert all(row["published_in_interval"] is not False for row in engines.values())
    version = engines[ATTACKED]["litert"]["provenance"]["version"]
    today = datetime.datetime.now(datetime.UTC).date()
    if not options.no_save:
        write_json(
            Path(__file__).parent / "results" / f"vendor_tflite_{today}_ai-edge-litert-{version}.json",
            {
                "date": str(today),
                "seed": SEED,
                "data_manifest_sha256": data.manifest_sha256,
                "contract": CONTRACT,
                "engines": engines,
                "square": attack,
                "provenance": provenance(),
            },
        )


if __name__ == "__main__":
    main()
