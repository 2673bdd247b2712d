"""Claim: MI-FGSM on the twin's backward ONNX graph is faster than on torch autograd, with the same gradients.

ResNet20 on CIFAR-10 and MobileNetV2 on ImageNet photographs, 10 steps, eps 8/255, one thread, the same batch for both.
Torch runs the same ONNX graph through tests/evaluate/twin/torch_reference.py. Before any clock starts, the cosine
between both gradients is at least 0.9999 on every image. The contenders take turns; needs ROBUSTMQ_DATA and the torch
extra.

    python benchmarks/bench_twin.py                              # for the record: 64 and 16 images, 5 rounds
    python benchmarks/bench_twin.py --images 4 2 --rounds 1 --no-save

Inside the clock: the whole attack, preprocessing of the uint8 images included. Outside: decoding, opening, warm-up.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
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

EPS, STEPS, LOWEST_COSINE = 8, 10, 0.9999
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
    Setting(model="mobilenet_v2_float", data="imagenet600", preset="tflite-mobilenet", batch=16),
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


def measure(setting: Setting, count: int, rounds: int, root: Path) -> dict[str, Any]:
    pipeline = PRESETS[setting.preset]
    dataset = open_dataset(root / "data" / setting.data).subset(count, seed=0)
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
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    adversarials = {}
    for _ in range(rounds):
        for name, task in tasks.items():
            start = time.perf_counter_ns()
            adversarials[name] = mifgsm(task, eps=EPS, steps=STEPS).adversarials
            seconds[name].append((time.perf_counter_ns() - start) / 1e9)
    return {
        "model": setting.model,
        "model_sha256": sha256_file(path),
        "images": count,
        "batch": setting.batch,
        "lowest_cosine": cosine,
        "equal_adversarial_bytes": float((adversarials["twin"] == adversarials["torch"]).mean()),
        "seconds": seconds,
        "images_per_second": {name: count / statistics.median(spans) for name, spans in seconds.items()},
        "speedup": statistics.median(t / o for o, t in zip(seconds["twin"], seconds["torch"], strict=True)),
        "speedup_range": [pick(t / o for o, t in zip(*seconds.values(), strict=True)) for pick in (min, max)],
    }


def lowest_cosine(left: np.ndarray, right: np.ndarray) -> float:
    left, right = (side.reshape(len(side), -1).astype(np.float64) for side in (left, right))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / norms).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs=2, default=(64, 16), metavar=("R20", "MOBILENET"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-save", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(os.environ["ROBUSTMQ_DATA"])
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    result = {
        "claim": "seconds of MI-FGSM, torch autograd / twin, one thread",
        "date": today,
        "eps": EPS,
        "steps": STEPS,
        "rows": [
            measure(setting, count, arguments.rounds, root)
            for setting, count in zip(SETTINGS, arguments.images, strict=True)
        ],
        "provenance": {**provenance(), "torch": torch.__version__},
    }
    print(json.dumps(result, indent=2))
    if not arguments.no_save:
        versions = f"onnxruntime-{result['provenance']['packages']['onnxruntime']}_torch-{torch.__version__}"
        write_json(Path(__file__).parent / "results" / f"twin_{today}_{versions}.json", result)


if __name__ == "__main__":
    main()
