"""Claim: one perturbation and one patch, learned on other images, fool INT8 and float far beyond noise of their bound.

Both are learned over images that are neither attacked nor those of the calibration, on the float model's twin (the
attacker holds that file) and on the straight-through twin of the INT8 file, and are shown to both engines. Beside the
perturbation stands one draw of random signs of the same eps, beside the patch a patch of noise at the same places; the
exact McNemar test compares each pair on the images that the engine gets right when clean. ``fooled`` counts those that
are wrong afterwards, and INT8 is compared with float on the images that both get right; ``changed`` is the fooling
rate of Moosavi-Dezfooli et al. 2017, the share of all images whose answer is another than on the clean image. Accuracy
only: nothing is timed. One seed, one perturbation, one patch: the intervals are over images, not over what another
seed would learn.

    ROBUSTMQ_DATA=... python benchmarks/bench_universal.py                                       # ResNet20, n 500
    ROBUSTMQ_DATA=... python benchmarks/bench_universal.py --net mobilenet --sources float --images 60 --steps 12
    ROBUSTMQ_DATA=... python benchmarks/bench_universal.py --images 50 --steps 4 --no-save

INT8 is ONNX Runtime's own quantizer's: min-max ranges of 256 images (64 for MobileNetV2), per-channel weights, uint8
activations.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from square_subject import build

from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.statistics import mcnemar_exact
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.evaluate.attacks.catalog import ATTACKS, LearnedEntry, TransferEntry, parse_attack
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.attacks.learn import Lesson
from robustmq_trt.evaluate.attacks.protocol import linf_levels
from robustmq_trt.evaluate.rates import share
from robustmq_trt.evaluate.target import Target, answer
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

SEED, EPS, AREA = 0, 8, 5
# Network: preset, images, model, images for the ranges.
NETS = {
    "resnet20": ("cifar10", "cifar10_2000", "resnet20_cifar10_float.onnx", 256),
    "mobilenet": ("tflite-mobilenet", "imagenet600", "mobilenet_v2_float.onnx", 64),
}
PAIRS = {"universal": "noise", "patch": "patch_control"}

Images = NDArray[np.uint8]


def attacked(task: TransferTask, lesson: Lesson, steps: int) -> dict[str, Images]:
    """Make the images of the four conditions, their bounds checked."""
    made = {"noise": random_signs(task)}
    for name in ("universal", "patch", "patch_control"):
        condition, entry = parse_attack(name), ATTACKS[name]
        settings = dict(condition.settings) | {"steps": steps}
        if isinstance(entry, LearnedEntry):
            made[name] = entry.learn(lesson, settings)(task).adversarials
        else:
            assert isinstance(entry, TransferEntry)
            made[name] = entry.craft(task, settings).adversarials
    assert max(linf_levels(made[name], task.images) for name in ("universal", "noise")) <= EPS
    covered = (made["patch"] != task.images).any(axis=3).mean(axis=(1, 2))
    assert covered.max() <= 2 * AREA / 100  # soft edges: more pixels change than the area counts
    return made


def random_signs(task: TransferTask) -> Images:
    signs = [2 * stream.integers(2, size=task.images.shape[1:]) - 1 for stream in task.streams(f"noise:eps={EPS}")]
    return np.clip(task.images + EPS * np.stack(signs), 0, 255).astype(np.uint8)


def answers(target: Target, task: TransferTask, made: dict[str, Images]) -> dict[str, NDArray[np.int64]]:
    """Ask one engine about every condition and the clean images."""
    return {name: answer(target, images).prediction for name, images in {"clean": task.images, **made}.items()}


def rows_of(found: dict[str, NDArray[np.int64]], labels: NDArray[Any]) -> list[dict[str, Any]]:
    """Judge every condition on one engine, each attack against its control."""
    right = found["clean"] == labels
    rows: list[dict[str, Any]] = [{"condition": "clean", "accuracy": asdict(share(right))}]
    for name in (*PAIRS, *PAIRS.values()):
        row: dict[str, Any] = {"condition": name, "fooled": asdict(share((found[name] != labels)[right]))}
        row["changed"] = asdict(share(found[name] != found["clean"]))
        if control := PAIRS.get(name):
            row |= {"control": control, **paired(found[name], found[control], labels, right)}
        rows.append(row)
    return rows


def paired(ours: NDArray[Any], theirs: NDArray[Any], labels: NDArray[Any], tried: NDArray[np.bool_]) -> dict[str, Any]:
    """Count whom only the first and only the second fools, with the exact McNemar test."""
    first, second = (ours != labels)[tried], (theirs != labels)[tried]
    only = int((first & ~second).sum()), int((second & ~first).sum())
    return {"n": int(tried.sum()), "only_first": only[0], "only_second": only[1], "p_mcnemar": mcnemar_exact(*only)}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    preset, images, model, calibration = NETS[options.net]
    root, pipeline = Path(os.environ["ROBUSTMQ_DATA"]), find_preset(preset)
    seen, rest = open_dataset(root / "data" / images).split(calibration, SEED)
    ranges = pipeline.tensor(load_images(seen, pipeline, threads=1).images)
    files = {"float": root / "models" / model}
    files["int8"] = build(files["float"], ranges, folder)
    targets = {name: opened(name, path, pipeline) for name, path in files.items()}
    first, others = rest.split(options.images, SEED)
    others = others.subset(options.learn, SEED)
    attacked_hashes = {sample.sha256 for sample in first.samples}
    assert attacked_hashes.isdisjoint(sample.sha256 for sample in (*others.samples, *seen.samples))
    held, learned = (load_images(part, pipeline, threads=1) for part in (first, others))
    labels = np.array(held.labels)
    rows, versus = [], []
    for name in options.sources:
        twin = Twin.open(files[name], pipeline, threads=1, batch=8)
        task = TransferTask(images=held.images, labels=labels, hashes=list(held.hashes), source=twin, seed=SEED)
        lesson = Lesson(images=learned.images, labels=np.array(learned.labels), source=twin, seed=SEED)
        made = attacked(task, lesson, options.steps)
        found = {engine: answers(target, task, made) for engine, target in targets.items()}
        for engine in targets:
            rows += [{"source": name, "engine": engine, **row} for row in rows_of(found[engine], labels)]
        both = (found["int8"]["clean"] == labels) & (found["float"]["clean"] == labels)
        for attack in (*PAIRS, *PAIRS.values()):
            test = paired(found["int8"][attack], found["float"][attack], labels, both)
            versus.append({"source": name, "condition": attack, "first": "int8", "second": "float", **test})
    return {
        "rows": rows,
        "int8_against_float": versus,
        "learned_on": others.manifest_sha256,
        "attacked": first.manifest_sha256,
        "files": {name: sha256_file(path) for name, path in files.items()},
    }


def opened(name: str, path: Path, pipeline: Pipeline) -> Target:
    engine = OnnxRuntimeEngine.open(path, threads=1)
    return Target(name=name, engine=engine, pipeline=pipeline, identity={}, batch=20)


def show(row: dict[str, Any]) -> str:
    parts = [f"from {row['source']:5} on {row['engine']:5} {row['condition']:13}"]
    for metric in ("accuracy", "fooled", "changed"):
        if metric in row:
            found = row[metric]
            parts.append(f"{metric} {found['value']:6.1%} [{found['low']:.1%}, {found['high']:.1%}] n={found['n']}")
    if "control" in row:
        parts.append(f"against {row['control']} p={row['p_mcnemar']:.2g}")
    return "  ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=NETS, default="resnet20")
    parser.add_argument("--images", type=int, default=500, help="images attacked")
    parser.add_argument("--learn", type=int, default=256, help="other images learned on")
    parser.add_argument("--steps", type=int, default=100, help="mini-batches of 32")
    parser.add_argument("--sources", nargs="+", choices=("float", "int8"), default=("float", "int8"))
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    for row in found["rows"]:
        print(show(row))
    for row in found["int8_against_float"]:
        print(row)
    if options.no_save:
        return
    today, made = datetime.datetime.now(datetime.UTC).date().isoformat(), provenance()
    settings = {
        "seed": SEED,
        "eps": EPS,
        "area": AREA,
        **{k: getattr(options, k) for k in ("images", "learn", "steps", "sources")},
    }
    document = {"date": today, "net": options.net, "settings": settings, **found, "provenance": made}
    name = f"universal_{options.net}_{today}_onnxruntime-{made['packages']['onnxruntime']}.json"
    write_json(Path(__file__).parent / "results" / name, document)


if __name__ == "__main__":
    main()
