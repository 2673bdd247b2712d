"""Square by others on the engine and images of bench_square.py: AutoAttack, the adversarial-robustness-toolbox."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustmq_trt.evaluate.attacks.square import SquareLinf
from robustmq_trt.inputs.pipeline import Pipeline

BATCHES = (1, 8, 16, 32, 64, 128)
BATCH = 64
SEED = 0
Floats = NDArray[np.float32]


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


@dataclass
class Outcome:
    """One run of one implementation."""

    adversarials: NDArray[np.uint8]
    claimed: NDArray[np.bool_]
    evaluations: int
    wall_s: float
    queries: NDArray[np.int64] | None = None
    engine_s: float = 0.0


class FloatOracle:
    """What the references call: float images in [0, 1] in, scores out; counts, and normalises as the pipeline does."""

    def __init__(self, subject: Subject) -> None:
        mean, std = (np.float32(v)[None, :, None, None] for v in (subject.pipeline.mean, subject.pipeline.std))
        self._scale, self._shift = np.float32(1) / std, -mean / std
        self._engine = subject.engine
        self.evaluations = self.engine_ns = 0

    def __call__(self, pixels: Floats) -> Floats:
        """Scores of (N, 3, H, W) float images."""
        tensor = pixels * self._scale
        tensor += self._shift
        began = time.perf_counter_ns()
        scores = self._engine.infer(tensor)
        self.engine_ns += time.perf_counter_ns() - began
        self.evaluations += len(pixels)
        return scores


def autoattack(subject: Subject, module: ModuleType) -> Outcome:
    import torch

    torch.set_num_threads(1)
    oracle = FloatOracle(subject)
    # The clean check and the start are two of our queries; the reference counts its start apart.
    attack = module.SquareAttack(
        lambda x: torch.from_numpy(oracle(x.numpy())),
        n_queries=subject.attack.budget - 2,
        eps=subject.attack.eps / 255,
        p_init=subject.attack.p_init,
        seed=SEED,
    )
    pixels = torch.from_numpy(float_pixels(subject))
    labels = torch.from_numpy(subject.labels)
    began = time.perf_counter_ns()
    attack.init_hyperparam(pixels)
    torch.manual_seed(SEED)
    queries, best = attack.attack_single_run(pixels, labels)
    wall = (time.perf_counter_ns() - began) / 1e9
    evaluations, engine_s = oracle.evaluations, oracle.engine_ns / 1e9
    scores = oracle(best.numpy())
    return Outcome(
        adversarials=grey_levels(best.numpy()),
        claimed=margins(scores, subject.labels) <= 0,
        evaluations=evaluations,
        wall_s=wall,
        queries=queries.numpy().astype(np.int64),
        engine_s=engine_s,
    )


def load_autoattack(path: Path) -> ModuleType:
    if "autoattack" not in sys.modules:
        # Its one import from the rest of the package serves the L1 norm, which is not run here.
        stub = ModuleType("autoattack.autopgd_base")
        stub.L1_projection = None  # type: ignore[attr-defined]
        sys.modules |= {"autoattack": ModuleType("autoattack"), "autoattack.autopgd_base": stub}
    spec = importlib.util.spec_from_file_location("autoattack_square", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def art_square(subject: Subject) -> Outcome:
    from art.attacks.evasion import SquareAttack

    settings = {"max_iter": subject.attack.budget, "eps": subject.attack.eps / 255, "p_init": subject.attack.p_init}
    return art_outcome(subject, SquareAttack, {**settings, "nb_restarts": 1})


def art_outcome(subject: Subject, attack: Callable[..., Any], settings: Mapping[str, Any]) -> Outcome:
    """Run an L-inf attack of the adversarial-robustness-toolbox, given by its class."""
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    logging.getLogger("art").setLevel(logging.ERROR)
    oracle = FloatOracle(subject)
    classifier = BlackBoxClassifierNeuralNetwork(
        oracle, (3, *subject.pipeline.size), subject.engine.spec.classes, channels_first=True, clip_values=(0, 1)
    )
    made = attack(classifier, norm=np.inf, batch_size=BATCH, verbose=False, **settings)
    pixels = float_pixels(subject)
    np.random.seed(SEED)  # noqa: NPY002  the reference draws from the global generator
    began = time.perf_counter_ns()
    best = made.generate(pixels, np.eye(subject.engine.spec.classes, dtype=np.float32)[subject.labels])
    wall = (time.perf_counter_ns() - began) / 1e9
    evaluations, engine_s = oracle.evaluations, oracle.engine_ns / 1e9
    claimed = oracle(best.astype(np.float32)).argmax(axis=1) != subject.labels
    return Outcome(
        adversarials=grey_levels(best), claimed=claimed, evaluations=evaluations, wall_s=wall, engine_s=engine_s
    )


def float_pixels(subject: Subject) -> Floats:
    return np.ascontiguousarray(subject.images.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


def grey_levels(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(pixels * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def margins(scores: Floats, labels: NDArray[np.int64]) -> Floats:
    rows = np.arange(len(scores))
    others = scores.copy()
    others[rows, labels] = -np.inf
    return scores[rows, labels] - others.max(axis=1)
