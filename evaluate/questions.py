"""What a search over models calls accuracy: labelled images in one or several versions, and the answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ..inputs.pipeline import Pipeline
from .attacks.catalog import transfer_entry
from .attacks.gradient import TransferTask
from .conditions import CLEAN, Condition
from .model_target import model_target
from .target import scores

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What accuracy means here: an image counts if every version of it is answered with its label.

    Attributes:
        versions: Name to (N, H, W, 3) uint8; ``clean`` alone for clean accuracy, with attacks for worst-case robust.
        labels: (N,) int64.
        pipeline: The model's preprocessing.
        seed: Seed of the bootstrap.
        threads: Threads of an engine; None for all.
    """

    versions: Mapping[str, Images]
    labels: NDArray[np.int64]
    pipeline: Pipeline
    seed: int = 0
    threads: int | None = None


def questions_under(task: TransferTask, attacks: Sequence[Condition], *, pipeline: Pipeline) -> Questions:
    """Give the clean images and each attack's version of them, made once on the task's gradient source.

    Args:
        task: Images, labels, hashes and where gradients come from; best not the model that is built.
        attacks: Transfer attacks; none for clean accuracy.
        pipeline: The model's preprocessing.

    Raises:
        InputError: If a condition is no transfer attack.
    """
    versions = {CLEAN.label: task.images}
    for condition in attacks:
        made = transfer_entry(condition).craft(task, dict(condition.settings))
        versions[condition.label] = made.adversarials
    labels = np.asarray(task.labels, dtype=np.int64)
    return Questions(versions=versions, labels=labels, pipeline=pipeline, seed=task.seed)


def right_answers(model: ModelProto, questions: Questions) -> Bools:
    """Tell which images a model answers rightly in every version, (N,) bool; scores that are not finite are wrong."""
    right = np.ones(len(questions.labels), dtype=np.bool_)
    with model_target(model, questions.pipeline, threads=questions.threads) as target:
        for images in questions.versions.values():
            found = scores(target, images)
            right &= np.isfinite(found).all(axis=1) & (found.argmax(axis=1) == questions.labels)
    return right


def logits(model: ModelProto, questions: Questions, images: Images) -> Floats:
    """Give a model's raw scores, (N, classes) float32, for (N, H, W, 3) uint8 images at model size."""
    with model_target(model, questions.pipeline, threads=questions.threads) as target:
        return scores(target, images)
