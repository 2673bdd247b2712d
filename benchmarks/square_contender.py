"""Square by others on the engine and images of bench_square.py: AutoAttack, torchattacks, ART."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from square_subject import BATCH, SEED, Floats, Subject


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


def torch_square(subject: Subject, attack: Callable[..., Any]) -> Outcome:
    """Run AutoAttack's Square, given by its class, or one with the same methods."""
    import torch

    torch.set_num_threads(1)
    oracle = FloatOracle(subject)
    # The clean check and the start are two of our queries; the reference counts its start apart.
    made = attack(
        torch_model(oracle),
        n_queries=subject.attack.budget - 2,
        eps=subject.attack.eps / 255,
        p_init=subject.attack.p_init,
        seed=SEED,
    )
    pixels, labels = torch.from_numpy(float_pixels(subject)), torch.from_numpy(subject.labels)
    counts: list[Any] = []

    def run() -> Floats:
        made.init_hyperparam(pixels)
        torch.manual_seed(SEED)
        queries, best = made.attack_single_run(pixels, labels)
        counts.append(queries)
        found: Floats = best.numpy()
        return found

    outcome, scores = timed(subject, oracle, run)
    queries = counts[0].numpy().astype(np.int64)
    return replace(outcome, claimed=margins(scores, subject.labels) <= 0, queries=queries)


def torchattacks_square(subject: Subject) -> Outcome:
    import torchattacks

    return torch_square(subject, torchattacks.Square)


def torch_model(oracle: FloatOracle) -> Any:
    """Give what asks the oracle as a torch module; its one parameter tells the device."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

        def forward(self, pixels: Any) -> Any:
            return torch.from_numpy(oracle(pixels.numpy()))

    return Model().eval()


def timed(subject: Subject, oracle: FloatOracle, run: Callable[[], Floats]) -> tuple[Outcome, Floats]:
    """Time an attack on float images; gives its outcome, claimed by the argmax, and the scores of what it delivered."""
    began = time.perf_counter_ns()
    best = run()
    wall = (time.perf_counter_ns() - began) / 1e9
    evaluations, engine_s = oracle.evaluations, oracle.engine_ns / 1e9
    scores = oracle(best.astype(np.float32))
    outcome = Outcome(
        adversarials=grey_levels(best),
        claimed=scores.argmax(axis=1) != subject.labels,
        evaluations=evaluations,
        wall_s=wall,
        engine_s=engine_s,
    )
    return outcome, scores


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
    pixels, targets = float_pixels(subject), np.eye(subject.engine.spec.classes, dtype=np.float32)[subject.labels]
    np.random.seed(SEED)  # noqa: NPY002  the reference draws from the global generator
    return timed(subject, oracle, lambda: made.generate(pixels, targets))[0]


def versions(options: argparse.Namespace) -> dict[str, str]:
    """Give the versions of the packages that were asked to run."""
    flags = {"art": "adversarial-robustness-toolbox", "foolbox": "foolbox", "torchattacks": "torchattacks"}
    return {name: metadata.version(name) for flag, name in flags.items() if getattr(options, flag, False)}


def float_pixels(subject: Subject) -> Floats:
    return np.ascontiguousarray(subject.images.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


def grey_levels(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(pixels * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def margins(scores: Floats, labels: NDArray[np.int64]) -> Floats:
    rows = np.arange(len(scores))
    others = scores.copy()
    others[rows, labels] = -np.inf
    return scores[rows, labels] - others.max(axis=1)
