"""The engines and the images of bench_square.py and bench_rays.py: INT8 by ONNX Runtime's quantizer."""

from __future__ import annotations

import argparse
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustmq_trt.engines.child import ChildEngine
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.evaluate.attacks.square import SquareLinf
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

BATCHES = (1, 8, 16, 32, 64, 128)
BATCH = 64
SEED = 0
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Net:
    """A float model, and the images that it is calibrated with and attacked on."""

    model: str
    images: str
    preset: str
    calibration: int


NETS = {
    "resnet20": Net("resnet20_cifar10_float.onnx", "cifar10_2000", "cifar10", 256),
    "mobilenet_v2": Net("mobilenet_v2_float.onnx", "imagenet600", "tflite-mobilenet", 128),
}


@dataclass
class Subject:
    """The engine and the images it gets right."""

    engine: Any  # an engine, or one that is being timed
    pipeline: Pipeline
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    hashes: list[str]
    attack: SquareLinf
    best_batch: int = BATCH
    apart: Any = None  # the same engine in a process of its own, where it is raced

    def scores(self, images: NDArray[np.uint8]) -> Floats:
        """Scores of uint8 images, outside any attack."""
        parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        return np.concatenate([self.engine.infer(self.pipeline.tensor(part)) for part in parts])

    def bare(self, batch: int, calls: int) -> float:
        """Seconds an image takes the engine in a tight loop, the first call not counted."""
        tensor = self.pipeline.tensor(np.resize(self.images, (batch, *self.images.shape[1:])))
        self.engine.infer(tensor)
        began = time.perf_counter_ns()
        for _ in range(calls):
            self.engine.infer(tensor)
        return (time.perf_counter_ns() - began) / 1e9 / (calls * batch)

    def choose_batch(self) -> None:
        """Find the batch at which the bare engine is fastest; the sizes take turns."""
        seconds = np.median([[self.bare(batch, 256 // batch) for batch in BATCHES] for _ in range(7)], axis=0)
        self.best_batch = BATCHES[int(seconds.argmin())]


def open_subject(data: Path, options: argparse.Namespace, folder: Path, *, apart: bool = False) -> Subject:
    net = NETS[options.net]
    pipeline = find_preset(net.preset)
    calibration, rest = open_dataset(data / "data" / net.images).split(net.calibration, SEED)
    seen, candidates = (load_images(part, pipeline, threads=1) for part in (calibration, rest))
    source = data / "models" / net.model
    model = options.engine or build(source, pipeline.tensor(seen.images), folder)
    engine = OnnxRuntimeEngine.open(model, threads=options.threads)
    scores = np.concatenate([engine.infer(pipeline.tensor(image[None])) for image in candidates.images])
    right = np.flatnonzero(scores.argmax(axis=1) == candidates.labels)[: options.images]
    return Subject(
        engine=engine,
        pipeline=pipeline,
        images=candidates.images[right],
        labels=candidates.labels[right],
        hashes=[candidates.hashes[i] for i in right],
        attack=SquareLinf(eps=options.eps, budget=options.queries),
        apart=ChildEngine.open(model, backend="onnxruntime", threads=options.threads) if apart else None,
    )


class _Rows:
    def __init__(self, tensors: Floats, name: str) -> None:
        self._batches = iter([{name: row[None]} for row in tensors])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._batches, None)


def build(source: Path, tensors: Floats, folder: Path) -> Path:
    """INT8 by ONNX Runtime's quantizer, so that the engine under attack is nobody's in this comparison."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    target = folder / "int8.onnx"
    logging.disable(logging.WARNING)
    quantize_static(
        shutil.copy(source, folder),  # it writes files beside the model it reads
        target,
        _Rows(tensors, "input"),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    logging.disable(logging.NOTSET)
    return target
