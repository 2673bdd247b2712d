"""Claim: without training, r20 keeps >= 80 % at w4a8, >= 77 % at w4a4, >= 60 % at w3a3, MobileNetV2 >= 80 % at w4a8.

An ablation: each row adds one remedy to the row above and is tested against it in pairs (exact McNemar, Holm within the
case). Every row is the file that `build` writes, run by ONNX Runtime's integer kernels; w8a8 in both profiles stands
beside, the TensorRT profile lowered on ONNX Runtime and as it is on OpenVINO. First and last layer have 8 bits.
Calibrated and scored images are disjoint. Asserted before a row counts: all multiply-accumulates run in integers, and
on some images the engine's logits are nearer to its simulation's (the same file with optimizations off) than these to
the float net's. OpenVINO's coverage is recorded. No speed is claimed: a 4-bit grid in int8 kernels takes an integer
Clip more than 8 bits do.
Needs ROBUSTMQ_DATA.

    OMP_NUM_THREADS=1 python benchmarks/bench_low_bits.py --nets r20 --calibration 200 --apart 200
    OMP_NUM_THREADS=1 python benchmarks/bench_low_bits.py --nets mobilenet
    python benchmarks/bench_low_bits.py --nets r20 --cases r20-w4a8 --images 100 --calibration 16 --no-save
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustmq_trt.cli.assembly import build
from robustmq_trt.cli.progress import Progress
from robustmq_trt.cli.request import BuildRequest, Built
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.precision import Precision
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.recipe import Recipe
from robustmq_trt.core.remedies import Remedies
from robustmq_trt.core.statistics import holm, paired_difference, wilson
from robustmq_trt.engines.catalog import open_engine
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

Floats = NDArray[np.float32]

NETS = {
    "r20": ("resnet20_cifar10_float", "cifar10_2000", "cifar10"),
    "mobilenet": ("mobilenet_v2_float", "imagenet600", "tflite-mobilenet"),
}
LOW = {"r20": ("w4a8", "w4a4", "w3a3"), "mobilenet": ("w4a8",)}
GOALS = {"r20-w4a8": 0.80, "r20-w4a4": 0.77, "r20-w3a3": 0.60, "mobilenet-w4a8": 0.80}
NEAREST = Remedies(rounding="nearest", compensate=False, bias_correction=False)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row of the ablation; ``naive`` clips activations at their extremes whatever their width."""

    name: str
    remedies: Remedies
    naive: bool = False


STEPS = (
    Step(name="nearest, min-max", remedies=NEAREST, naive=True),
    Step(name="+ ranges for the width", remedies=NEAREST),
    Step(name="+ mse scales", remedies=replace(NEAREST, rounding="mse")),
    Step(name="+ bias correction", remedies=replace(NEAREST, rounding="mse", bias_correction=True)),
    Step(name="+ gptq", remedies=replace(NEAREST, rounding="gptq", bias_correction=True)),
    Step(name="+ refined", remedies=replace(NEAREST, rounding="refined", bias_correction=True)),
    Step(name="+ compensated (default)", remedies=Remedies(rounding="refined", bias_correction=True, compensate=True)),
    Step(
        name="+ equalised",
        remedies=Remedies(rounding="refined", bias_correction=True, compensate=True, equalise=True),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Exam:
    """What every row of a net is asked."""

    net: str
    model: Path
    folder: Path
    pipeline: Pipeline
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    options: argparse.Namespace

    def build(
        self, precision: str, remedies: Remedies, *, profile: str = "cpu-u8", ranges: Path | None = None
    ) -> Built:
        """Build what the command line would; ``ranges`` go before observed ones."""
        output = Path(tempfile.mkdtemp(dir=self.folder))
        return build(
            BuildRequest(
                model=str(self.model),
                recipe=Recipe(precision=Precision.parse(precision), remedies=remedies),
                profile=profile,
                calib=self._data(),
                calib_size=self.options.calibration,
                preset=NETS[self.net][2],
                output=output,
                ranges=ranges,
                require_integer=1.0,
                seed=self.options.seed,
                threads=self.options.threads,
            ),
            Progress(quiet=True),
        )

    def scores(self, target: str, count: int | None = None) -> tuple[Floats, float]:
        """Give the logits of the first images, and the share of multiply-accumulates in integer kernels."""
        engine = open_engine(target, threads=self.options.threads)
        try:
            chunks = [self.images[:count][start : start + 32] for start in range(0, len(self.images[:count]), 32)]
            found = np.concatenate([engine.infer(self.pipeline.tensor(chunk)) for chunk in chunks])
            return found, engine.audit().integer_coverage
        finally:
            engine.close()

    def right(self, scores: Floats) -> NDArray[np.bool_]:
        """Tell which images are answered rightly."""
        return scores.argmax(axis=1) == self.labels[: len(scores)]

    def _data(self) -> Path:
        return Path(os.environ["ROBUSTMQ_DATA"]) / "data" / NETS[self.net][1]


def exam(net: str, folder: Path, options: argparse.Namespace) -> Exam:
    """Open a net and the images it is scored on: none of those `build` draws for calibration."""
    root = Path(os.environ["ROBUSTMQ_DATA"])
    model, data, preset = (
        root / "models" / f"{NETS[net][0]}.onnx",
        open_dataset(root / "data" / NETS[net][1]),
        NETS[net][2],
    )
    calibrated = {
        sample.sha256 for sample in data.subset(max(options.calibration, options.apart), options.seed).samples
    }
    rest = replace(data, samples=tuple(sample for sample in data.samples if sample.sha256 not in calibrated))
    pipeline = find_preset(preset)
    loaded = load_images(rest.subset(min(options.images, len(rest)), options.seed), pipeline, threads=1)
    assert not loaded.failures
    return Exam(
        net=net,
        model=model,
        folder=folder,
        pipeline=pipeline,
        images=loaded.images,
        labels=loaded.labels,
        options=options,
    )


def row(subject: Exam, step: str, scores: Floats, before: NDArray[np.bool_] | None) -> dict[str, Any]:
    """Give accuracy with its interval and the paired difference to the row above."""
    right = subject.right(scores)
    rate = wilson(int(right.sum()), len(right))
    facts: dict[str, Any] = {"step": step, "accuracy": rate.value, "low": rate.low, "high": rate.high, "n": rate.n}
    if before is not None:
        gain = paired_difference(right, before, seed=subject.options.seed)
        facts |= {"gain": gain.difference, "gain_low": gain.low, "gain_high": gain.high, "p": gain.p_value}
    return facts


def low_bits(
    subject: Exam, precision: str, minmax: Path, reference: Floats, report: Callable[[dict[str, Any]], None]
) -> None:
    """Run the ablation of one precision; hand it over after every row."""
    case, rows, before = f"{subject.net}-{precision}", [], None
    for step in STEPS:
        if (subject.options.steps and step.name not in subject.options.steps) or _same(step, precision, subject.net):
            continue
        start = time.perf_counter()
        built = subject.build(precision, step.remedies, ranges=minmax if step.naive else None)
        scores, coverage = subject.scores(str(built.path))
        rows.append(row(subject, step.name, scores, before))
        rows[-1] |= {"integer_coverage": coverage, "sha256": built.card.sha256}
        rows[-1] |= _against_simulation(subject, built.path, scores, reference)
        rows[-1] |= {"remedies": step.remedies.to_json(), "seconds": round(time.perf_counter() - start, 1)}
        before = subject.right(scores)
        print(line(case, rows[-1]), flush=True)
        report({"case": case, "goal": GOALS[case], "rows": _adjusted(rows)})


def _same(step: Step, precision: str, net: str) -> bool:
    """Tell whether a step changes nothing: 8-bit activations keep their ranges, ReLU6 keeps channels from scaling."""
    return (step.name == "+ ranges for the width" and precision.endswith("a8")) or (
        step.remedies.equalise and net == "mobilenet"
    )


def _against_simulation(subject: Exam, path: Path, scores: Floats, reference: Floats) -> dict[str, Any]:
    """Compare the engine with the same file computed in float, in units of what the grid itself costs."""
    simulated, _ = subject.scores(f"simulation:{path}", subject.options.compared)
    ratio = float(
        _rms(scores[: subject.options.compared] - simulated) / _rms(simulated - reference[: subject.options.compared])
    )
    assert ratio < 1, f"the engine differs from its simulation by {ratio:.2f} of what that differs from float"
    flips = int((simulated.argmax(axis=1) != scores[: subject.options.compared].argmax(axis=1)).sum())
    return {"simulation": {"images": subject.options.compared, "flips": flips, "rms_difference_to_grid_error": ratio}}


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def eight_bits(subject: Exam) -> tuple[dict[str, Any], Path, Floats]:
    """Run float and w8a8 in both profiles; give the min-max table and the float logits too."""
    native = subject.build("w8a8", Remedies())
    targets = {"float": str(native.reference)}
    if not subject.options.no_w8a8:
        other = subject.build("w8a8", Remedies(), profile="trt-s8")
        targets |= {
            "w8a8 cpu-u8, ONNX Runtime": str(native.path),
            "w8a8 trt-s8 lowered, ONNX Runtime": str(other.path),
            "w8a8 trt-s8 as is, OpenVINO": f"openvino:{other.canonical}",
        }
    rows: list[dict[str, Any]] = []
    reference = np.empty((0, 0), np.float32)
    for name, target in targets.items():
        scores, coverage = subject.scores(target)
        before = subject.right(reference) if len(reference) else None
        rows.append({**row(subject, name, scores, before), "integer_coverage": coverage})
        reference = reference if len(reference) else scores
        print(line(f"{subject.net}-w8a8", rows[-1]), flush=True)
    table = native.path.with_suffix(".ranges.json")
    return {"case": f"{subject.net}-w8a8", "gain": "against float", "rows": _adjusted(rows)}, table, reference


def _adjusted(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    tested = [entry for entry in rows if "p" in entry]
    for entry, p in zip(tested, holm([entry["p"] for entry in tested]), strict=True):
        entry["p_holm"] = p
    return list(rows)


def line(case: str, facts: Mapping[str, Any]) -> str:
    gain = f"  {facts['gain']:+.2%} [{facts['gain_low']:+.2%}, {facts['gain_high']:+.2%}]" if "gain" in facts else ""
    return f"{case:15} {facts['step']:34} {facts['accuracy']:7.2%} [{facts['low']:.2%}, {facts['high']:.2%}]{gain}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--cases", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--steps", nargs="+", choices=[step.name for step in STEPS], help="only these rows")
    parser.add_argument("--images", type=int, default=10_000, help="images scored, at most what is left")
    parser.add_argument("--calibration", type=int, default=128)
    parser.add_argument("--apart", type=int, default=128, help="images left out of the scoring, calibrated with or not")
    parser.add_argument("--compared", type=int, default=100, help="images behind the comparison with the simulation")
    parser.add_argument("--no-w8a8", action="store_true", help="float alone beside the low bits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-save", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = parse()
    facts = provenance()
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    cases: dict[str, Any] = {}
    result = {
        "claim": "accuracy of low-bit grids in int8 kernels after each remedy",
        "date": today,
        "settings": {key: value for key, value in vars(options).items() if key != "no_save"},
        "models": {},
        "cases": cases,
        "provenance": facts,
    }
    chosen = [case for case in options.cases if case.partition("-")[0] in options.nets]
    stem = f"low_bits_{'_'.join(chosen)}_{today}_onnxruntime-{facts['packages']['onnxruntime']}.json"

    def report(case: dict[str, Any]) -> None:
        cases[case["case"]] = case
        if not options.no_save:
            write_json(Path(__file__).parent / "results" / stem, result)

    with tempfile.TemporaryDirectory() as folder:
        for net in options.nets:
            subject = exam(net, Path(folder), options)
            result["models"][subject.model.name] = sha256_file(subject.model)
            eight, minmax, reference = eight_bits(subject)
            report(eight)
            for precision in LOW[net]:
                if f"{net}-{precision}" in options.cases:
                    low_bits(subject, precision, minmax, reference, report)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
