"""Claim: without training, r20 keeps >= 80 % at w4a8, >= 77 % at w4a4, >= 60 % at w3a3, MobileNetV2 >= 80 % at w4a8.

An ablation: each row adds one remedy to the row above. Weights and activations are on their grids in a float graph that
ONNX Runtime computes (simulation; bench_grids.py runs the integer file). Calibration images and scored images are
disjoint. First and last layer have 8 bits, weights and inputs, unless --low-ends; the float accuracy stands beside.
Before anything is scored: equalised models must answer as the original to 1e-4 of the largest logit.
Needs ROBUSTMQ_DATA.

    python benchmarks/bench_low_bits.py                                   # for the record: all images left
    python benchmarks/bench_low_bits.py --cases r20-w4a8 --images 100 --calibration 32 --no-save
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from robustmq_trt.calib.calibrate import calibrate
from robustmq_trt.calib.equalise import equalise
from robustmq_trt.calib.fake_quant import Grid, grid_tensors, on_grids, with_weights
from robustmq_trt.calib.layers import weighted_layers
from robustmq_trt.calib.prefix import in_order, runner
from robustmq_trt.calib.weights import WeightRecipe, choose_weights
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.statistics import mcnemar_exact, wilson
from robustmq_trt.export.onnx_file import read_model
from robustmq_trt.export.prepare import prepare
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.loader import stream_images
from robustmq_trt.inputs.sources import open_dataset

NETS = {
    "r20": ("resnet20_cifar10_float", "cifar10_2000", "cifar10"),
    "mobilenet": ("mobilenet_v2_float", "imagenet600", "tflite-mobilenet"),
}
CASES = {"r20-w4a8": (4, 8), "r20-w4a4": (4, 4), "r20-w3a3": (3, 3), "mobilenet-w4a8": (4, 8)}
BATCH = {"r20": 32, "mobilenet": 8}
PLAIN = WeightRecipe(bits=8, method="nearest", refine=False, compensate=False, bias_correction=False)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row of the ablation: what is done to the weights, and how activations are calibrated."""

    name: str
    recipe: WeightRecipe
    equalised: bool = False
    activations: str = "mse"


STEPS = (
    Step(name="nearest, min-max activations", recipe=PLAIN, activations="minmax"),
    Step(name="nearest", recipe=PLAIN),
    Step(name="mse", recipe=replace(PLAIN, method="mse")),
    Step(name="mse + bias", recipe=replace(PLAIN, method="mse", bias_correction=True)),
    Step(name="mse + equalise", recipe=replace(PLAIN, method="mse"), equalised=True),
    Step(name="gptq + equalise", recipe=replace(PLAIN, method="gptq"), equalised=True),
    Step(name="gptq", recipe=replace(PLAIN, method="gptq")),
    Step(name="gptq + refine", recipe=replace(PLAIN, method="gptq", refine=True)),
    Step(
        name="gptq + refine + compensate",
        recipe=replace(PLAIN, method="gptq", refine=True, compensate=True),
    ),
    Step(name="gptq + refine + compensate + bias", recipe=WeightRecipe(bits=8)),
    Step(name="all + equalise", recipe=WeightRecipe(bits=8), equalised=True),
)


class Subject:
    """A net with its images; what several rows need is computed once."""

    def __init__(self, net: str, options: argparse.Namespace, root: Path) -> None:
        name, data, preset = NETS[net]
        self.path = root / "models" / f"{name}.onnx"
        self.model = prepare(read_model(self.path)).model
        self._threads, self._batch, self._pipeline = options.threads, BATCH[net], PRESETS[preset]
        split = open_dataset(root / "data" / data).split(options.calibration, options.seed)
        self._scored = split.rest.subset(min(options.images, len(split.rest)), options.seed)
        self.labels = self._scored.labels
        self._calibration = list(self._tensors(split.first))
        self.float_scores = self.scores(self.model)

    def _tensors(self, dataset: Any) -> Iterator[np.ndarray]:
        for loaded in stream_images(dataset, self._pipeline, batch=self._batch, threads=1):
            assert not loaded.failures
            yield self._pipeline.tensor(loaded.images)

    def batches(self) -> Iterator[np.ndarray]:
        """Give the calibration images."""
        return iter(self._calibration)

    @cached_property
    def equalised(self) -> onnx.ModelProto:
        """The equalised net, proven to be the same function."""
        result = equalise(self.model)
        scores = self.scores(result.model)
        difference = np.abs(scores - self.float_scores).max() / np.abs(self.float_scores).max()
        assert difference <= 1e-4, f"equalisation changed the logits by {difference}"
        print(f"equalised {result.pairs} pairs, {len(result.skipped)} left alone behind Clip", flush=True)
        return result.model

    def scores(self, model: onnx.ModelProto) -> np.ndarray:
        """Give the logits of the images that are scored."""
        run = runner(model, model.graph.output[0].name)
        return np.concatenate(list(in_order(run, self._tensors(self._scored), threads=self._threads)))

    def grids(self, model: onnx.ModelProto, bits: int, method: str, *, low_ends: bool) -> dict[str, Grid]:
        """Calibrate the activations, each for its width."""
        eight = {model.graph.output[0].name} if low_ends else self._end_tensors(model)
        names = {width: f"mse:{width}" if method == "mse" else method for width in {8, bits}}
        found = calibrate(model, self.batches, methods=sorted({*names.values()}), threads=self._threads)
        widths = {name: 8 if name in eight else bits for name in grid_tensors(model)}
        return {
            name: Grid(low=found[names[width]][name][0], high=found[names[width]][name][1], bits=width)
            for name, width in widths.items()
        }

    @staticmethod
    def _end_tensors(model: onnx.ModelProto) -> set[str]:
        """Name what the first layer reads, and all behind the last activation with channels and positions."""
        layers = weighted_layers(model)
        writers = {node.output[0]: node for node in model.graph.node}
        name, ends = layers[-1].input, {layers[0].input, layers[-1].input, model.graph.output[0].name}
        while name in writers and writers[name].op_type in ("Flatten", "Reshape", "Squeeze"):
            name = writers[name].input[0]
            ends.add(name)
        return ends


def measure(step: Step, subject: Subject, bits: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    """Choose the weights of one row and score them."""
    model = subject.equalised if step.equalised else subject.model
    layers = weighted_layers(model)
    ends = {} if options.low_ends else {layers[0].weight: 8, layers[-1].weight: 8}
    grids = subject.grids(model, bits[1], step.activations, low_ends=options.low_ends)
    start = time.perf_counter_ns()
    chosen = choose_weights(
        model,
        subject.batches,
        recipe=replace(step.recipe, bits=bits[0], overrides=ends),
        grids=grids,
        threads=options.threads,
    )
    seconds = (time.perf_counter_ns() - start) / 1e9
    scores = subject.scores(with_weights(on_grids(chosen.model, grids), chosen.codes))
    return {"step": step.name, "equalised": step.equalised, "seconds": seconds, **scored(scores, subject)}


def scored(scores: np.ndarray, subject: Subject) -> dict[str, Any]:
    """Give accuracy, agreement with float and the paired test against it."""
    right, before = scores.argmax(1) == subject.labels, subject.float_scores.argmax(1) == subject.labels
    interval = wilson(int(right.sum()), len(right))
    lost, won = int((before & ~right).sum()), int((right & ~before).sum())
    return {
        "accuracy": interval.value,
        "low": interval.low,
        "high": interval.high,
        "n": len(right),
        "agreement_with_float": float((scores.argmax(1) == subject.float_scores.argmax(1)).mean()),
        "logit_mse": float(np.square(scores - subject.float_scores).mean()),
        "lost": lost,
        "won": won,
        "p_against_float": mcnemar_exact(lost, won),
    }


def run_case(case: str, subjects: dict[str, Subject], options: argparse.Namespace, root: Path) -> dict[str, Any]:
    net = case.partition("-")[0]
    if net not in subjects:
        subjects[net] = Subject(net, options, root)
    subject = subjects[net]
    rows = [{"step": "float", **scored(subject.float_scores, subject)}]
    print(line(case, rows[0]), flush=True)
    for step in STEPS:
        if options.steps and step.name not in options.steps:
            continue
        rows.append(measure(step, subject, CASES[case], options))
        print(line(case, rows[-1]), flush=True)
    return {"case": case, "model": subject.path.name, "model_sha256": sha256_file(subject.path), "rows": rows}


def line(case: str, row: dict[str, Any]) -> str:
    return (
        f"{case:15} {row['step']:36} {row['accuracy']:7.2%} [{row['low']:.2%}, {row['high']:.2%}] n={row['n']}  "
        f"agrees {row['agreement_with_float']:.3f}  logit mse {row['logit_mse']:.3g}  {row.get('seconds', 0):.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--steps", nargs="+", choices=[step.name for step in STEPS], help="only these rows")
    parser.add_argument("--images", type=int, default=10_000, help="images scored, at most what is left")
    parser.add_argument("--calibration", type=int, default=200)
    parser.add_argument("--low-ends", action="store_true", help="first and last layer on few bits too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    root = Path(os.environ["ROBUSTMQ_DATA"])
    subjects: dict[str, Subject] = {}
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    result = {
        "claim": "accuracy of low-bit grids after each remedy, simulated in float",
        "date": today,
        "settings": {key: value for key, value in vars(options).items() if key != "no_save"},
        "cases": [run_case(case, subjects, options, root) for case in options.cases],
        "provenance": provenance(),
    }
    print(json.dumps(result, indent=2))
    if not options.no_save:
        version = result["provenance"]["packages"]["onnxruntime"]
        write_json(Path(__file__).parent / "results" / f"low_bits_{today}_onnxruntime-{version}.json", result)


if __name__ == "__main__":
    main()
