"""Per-image answers of a run as arrays, one cell per engine and condition, rebuilt from the stored rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.store import ImageRow, Task
from .attacks.aim import drawn_target


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one engine answered under one condition; all arrays are (N,) over the images of the run.

    Attributes:
        valid: bool, whether the engine could be asked; False where a chunk is missing or an image undecodable.
        correct: bool, whether the answer is the label.
        tied: bool, whether the highest score was shared.
        prediction: int64, the answer; -1 where there is none.
        queries: int64, forward passes an attack spent.
        zero_gradient: float64, share of zero gradient entries.
        reached: bool, whether the answer is the class that a targeted attack aimed at.
        identity: What the numbers depend on.
    """

    valid: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    tied: NDArray[np.bool_]
    prediction: NDArray[np.int64]
    queries: NDArray[np.int64]
    zero_gradient: NDArray[np.float64]
    reached: NDArray[np.bool_]
    identity: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Results:
    """All cells of a run.

    Attributes:
        cells: (engine, condition label) to its cell; only cells with at least one measured chunk.
        missing: (engine, condition label) to the reason why it, or a part of it, was not measured.
    """

    cells: Mapping[tuple[str, str], Cell]
    missing: Mapping[tuple[str, str], str]

    @classmethod
    def collect(cls, tasks: Iterable[Task], *, images: int) -> Results:
        """Sort stored tasks into cells.

        Args:
            tasks: The run's tasks, in any order.
            images: Number of images in the evaluated data set.
        """
        rows: dict[tuple[str, str], list[ImageRow]] = {}
        identities: dict[tuple[str, str], Mapping[str, object]] = {}
        missing: dict[tuple[str, str], str] = {}
        for task in tasks:
            place = (task.engine, task.condition)
            if task.status == "measured":
                rows.setdefault(place, []).extend(task.rows)
                identities[place] = task.identity
            else:
                missing[place] = f"{task.status}: {task.reason}"
        cells = {place: _cell(found, images, identities[place]) for place, found in rows.items()}
        return cls(cells=cells, missing=missing)


def _cell(rows: Iterable[ImageRow], images: int, identity: Mapping[str, object]) -> Cell:
    valid, correct, tied, reached = (np.zeros(images, dtype=np.bool_) for _ in range(4))
    seed, classes = identity.get("seed"), identity.get("target_classes")
    prediction = np.full(images, -1, dtype=np.int64)
    queries = np.zeros(images, dtype=np.int64)
    zero_gradient = np.zeros(images)
    for row in rows:
        place = row.position
        valid[place], correct[place], tied[place] = row.valid, row.correct, row.tied
        prediction[place] = -1 if row.prediction is None else row.prediction
        queries[place], zero_gradient[place] = row.queries, row.zero_gradient
        if isinstance(seed, int) and isinstance(classes, int):
            reached[place] = row.prediction == drawn_target(seed, row.image, row.label, classes)
    return Cell(
        valid=valid,
        correct=correct,
        tied=tied,
        prediction=prediction,
        queries=queries,
        zero_gradient=zero_gradient,
        reached=reached,
        identity=identity,
    )
