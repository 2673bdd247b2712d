"""Claim: MI-FGSM on the twin's backward ONNX graph is at least 1.3 times as fast as on torch autograd, same gradients.

ResNet20 on CIFAR-10 and MobileNetV2 on ImageNet photographs, 10 steps, eps 8/255, one thread, the same batch for both.
Torch runs the same ONNX graph through tests/evaluate/twin/torch_reference.py. Before any clock starts, the cosine
between both gradients is at least 0.9999 on every image. Needs ROBUSTMQ_DATA and the torch extra.

A host's speed drifts by tens of per cent within minutes, so turns are short (a whole attack on one batch, a second or
so), contenders alternate, and who begins alternates too. Each pair of neighbouring turns gives one ratio; the figure is
their median, its interval that of the order statistics (exact binomial, 95 %), which asks nothing of their
distribution. The machine's load average before and after stands beside.

    python benchmarks/bench_twin.py                              # for the record: 41 pairs of turns
    python benchmarks/bench_twin.py --pairs 3 --no-save

Inside the clock: the whole attack, preprocessing of the uint8 images included. Outside: decoding, opening, warm-up.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import itertools
import json
import math
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import torch

from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.evaluate.attacks.gradient import GradientSource, TransferTask
from robustmq_trt.evaluate.attacks.mifgsm import mifgsm
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

EPS, STEPS, LOWEST_COSINE, CLAIM = 8, 10, 0.9999, 1.3
REFERENCE = Path(__file__).parents[1] / "tests" / "evaluate" / "twin" / "torch_reference.py"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One model with its images."""

    model: str
    data: str
    preset: str
    batch: int


SETTINGS = (
    Setting(model="resnet20_cifar10_float", data="cifar10_2000", preset="cifar10", batch=32),
    Setting(model="mobilenet_v2_float", data="imagenet600", preset="tflite-mobilenet", batch=8),
)


class TorchSource:
    """Gradients by torch autograd, behind the same pipeline and in the same batches."""

    def __init__(self, path: Path, pipeline: Pipeline, batch: int) -> None:
        self._model = _torch_reference().TorchModel(onnx.load(path))
        self._pipeline, self._batch = pipeline, batch
        self._slopes = np.float32(1 / (255 * np.array(pipeline.std)))

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Give d cross-entropy / d grey level, (N, H, W, 3)."""
        pieces = [slice(start, start + self._batch) for start in range(0, len(images), self._batch)]
        gradients = [self._model.gradient(self._pipeline.tensor(images[piece]), labels[piece]) for piece in pieces]
        return np.multiply(np.concatenate(gradients).transpose(0, 2, 3, 1), self._slopes, order="C")


def _torch_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("torch_reference", REFERENCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(setting: Setting, pairs: int, root: Path) -> dict[str, Any]:
    pipeline = PRESETS[setting.preset]
    folder = root / "data" / setting.data
    dataset = open_dataset(folder).subset(setting.batch, seed=0)
    path = root / "models" / f"{setting.model}.onnx"
    images = np.stack([pipeline.load(sample.read()) for sample in dataset.samples])
    labels = np.array([sample.label for sample in dataset.samples])
    hashes = [sample.sha256 for sample in dataset.samples]
    sources: dict[str, GradientSource] = {
        "twin": Twin.open(path, pipeline, threads=1, batch=setting.batch),
        "torch": TorchSource(path, pipeline, setting.batch),
    }
    cosine = lowest_cosine(*(source.gradient(images, labels) for source in sources.values()))
    assert cosine >= LOWEST_COSINE, f"the gradients differ: cosine {cosine}"
    tasks = {
        name: TransferTask(images=images, labels=labels, hashes=hashes, source=source)
        for name, source in sources.items()
    }
    adversarials = {name: mifgsm(task, eps=EPS, steps=STEPS).adversarials for name, task in tasks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    before = os.getloadavg()
    for turn in range(pairs):
        for name in sorted(tasks, reverse=bool(turn % 2)):
            start = time.perf_counter_ns()
            mifgsm(tasks[name], eps=EPS, steps=STEPS)
            seconds[name].append((time.perf_counter_ns() - start) / 1e9)
    ratios = sorted(torch / twin for twin, torch in zip(seconds["twin"], seconds["torch"], strict=True))
    low, high = median_interval(ratios)
    return {
        "model": setting.model,
        "model_sha256": sha256_file(path),
        "batch": setting.batch,
        "lowest_cosine": cosine,
        "equal_adversarial_bytes": float((adversarials["twin"] == adversarials["torch"]).mean()),
        "seconds": seconds,
        "images_per_second": {name: setting.batch / statistics.median(spans) for name, spans in seconds.items()},
        "pairs": pairs,
        "speedup": {"median": statistics.median(ratios), "low": low, "high": high, "confidence": 0.95},
        "speedup_of_the_fastest_turns": min(seconds["torch"]) / min(seconds["twin"]),
        "claim_holds": low >= CLAIM,
        "load_average": {"before": before, "after": os.getloadavg()},
    }


def median_interval(values: list[float]) -> tuple[float, float]:
    """Give the narrowest symmetric pair of order statistics that holds the median with 95 % at least."""
    n = len(values)
    tails = list(itertools.accumulate(math.comb(n, k) / 2**n for k in range(n)))
    outside = sum(tail <= 0.025 for tail in tails)  # how many values may be left out on each side
    return values[max(outside - 1, 0)], values[min(n - outside, n - 1)]


def lowest_cosine(left: np.ndarray, right: np.ndarray) -> float:
    left, right = (side.reshape(len(side), -1).astype(np.float64) for side in (left, right))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / norms).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=41, help="of turns per model (default 41)")
    parser.add_argument("--no-save", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(os.environ["ROBUSTMQ_DATA"])
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    result = {
        "claim": f"seconds of MI-FGSM, torch autograd / twin, one thread, at least {CLAIM}",
        "date": today,
        "eps": EPS,
        "steps": STEPS,
        "rows": [measure(setting, arguments.pairs, root) for setting in SETTINGS],
        "provenance": {**provenance(), "torch": torch.__version__},
    }
    print(json.dumps(result, indent=2))
    if not arguments.no_save:
        versions = f"onnxruntime-{result['provenance']['packages']['onnxruntime']}_torch-{torch.__version__}"
        write_json(Path(__file__).parent / "results" / f"twin_{today}_{versions}.json", result)


if __name__ == "__main__":
    main()
