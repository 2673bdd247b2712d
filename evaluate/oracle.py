"""The only door between an attack and an engine: it owns the threat model, the query count and the clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import EngineError, InputError, RobustMQError, TargetChangedError
from ..engines.protocol import OutputKind, Pipelined
from .attacks.protocol import Answer, Goal, Image
from .score_access import Floats, ScoreAccess, check_access, seen_by_attacker

NON_FINITE = "The engine gave non-finite scores for this image."


class BudgetError(RobustMQError):
    """An attack asked for more queries than an image has."""


class Scorer(Protocol):
    """The part of an engine that the oracle needs."""

    def infer(self, batch: Floats | NDArray[np.uint8]) -> Floats:
        """Give (N, C) float32 scores for a batch as the preprocessing gives it."""


class Preprocessing(Protocol):
    """The part of a pipeline that the oracle needs."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width the model takes."""

    def tensor(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Turn (N, H, W, 3) uint8 images into the input of the engine."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the queries so far have cost.

    Attributes:
        queries: Queries that attacks asked for (logical).
        evaluations: Rows the engine computed, padding included (physical).
        calls: Calls of the engine.
        engine_ns: Nanoseconds inside the engine; where it computes in another process, by that process's clock.
        preprocessing_ns: Nanoseconds inside the preprocessing.
        wall_ns: Nanoseconds under ``Oracle.stopwatch``; attack, scheduler and oracle are what is left of them, unless
            the engine computes beside them.
    """

    queries: int
    evaluations: int
    calls: int
    engine_ns: int
    preprocessing_ns: int
    wall_ns: int


class _Flight(NamedTuple):
    """One batch under way: whom its rows are for, how many there are with the padding, and the scores if known."""

    goals: list[Goal]
    rows: int
    outputs: Floats | None


class Oracle:
    """Answers queries on uint8 images, counts each one for its image, and refuses what is past the budget.

    The verdict ``Answer.wrong`` is always by the production argmax (lowest index on ties) of the engine's raw output;
    the scores are what ``score_access`` leaves of it.

    Args:
        engine: Gives scores; a row may not depend on its batch mates unless ``pad`` is on.
        preprocessing: Turns model-size uint8 images into the engine's input.
        batch: Most images in one call of the engine.
        budget: Queries each image may cost.
        score_access: What the attacker sees, one of ``score_access.SCORE_ACCESS``.
        output_kind: What the engine puts out.
        pad: Fill every call up to ``batch`` rows with copies of its first image, for engines with one fixed batch or
            whose scores depend on the batch size.

    Raises:
        InputError: If ``batch`` or ``budget`` is below one, or the engine cannot give ``score_access``.
    """

    def __init__(
        self,
        engine: Scorer,
        preprocessing: Preprocessing,
        *,
        batch: int,
        budget: int,
        score_access: ScoreAccess = "logits",
        output_kind: OutputKind = "logits",
        pad: bool = False,
    ) -> None:
        if batch < 1 or budget < 1:
            raise InputError(f"Expected `batch` and `budget` of at least 1, got {batch} and {budget}.")
        check_access(score_access, output_kind)
        self._engine, self._preprocessing = engine, preprocessing
        self._batch, self._budget, self._pad = batch, budget, pad
        self._access, self._output_kind = score_access, output_kind
        self._pipelined = engine if isinstance(engine, Pipelined) else None
        self._flights: list[_Flight] = []
        self._goals: list[Goal] = []
        self._queries: list[int] = []
        self._evaluations = self._calls = self._engine_ns = self._preprocessing_ns = self._wall_ns = 0

    @property
    def batch(self) -> int:
        """Most images in one call."""
        return self._batch

    @property
    def ahead(self) -> bool:
        """Whether a second batch may be submitted while the engine works on one."""
        return self._pipelined is not None

    @property
    def pads(self) -> bool:
        """Whether a call costs the same however many images it holds."""
        return self._pad

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images taken."""
        return self._preprocessing.size

    @property
    def cost(self) -> Cost:
        """The bill so far."""
        return Cost(
            queries=sum(self._queries),
            evaluations=self._evaluations,
            calls=self._calls,
            engine_ns=self._engine_ns,
            preprocessing_ns=self._preprocessing_ns,
            wall_ns=self._wall_ns,
        )

    def admit(self, goal: Goal) -> int:
        """Open the account of one image and give its ticket.

        Raises:
            InputError: If a class is negative, or the target is the label.
        """
        if goal.label < 0 or (goal.target is not None and (goal.target < 0 or goal.target == goal.label)):
            raise InputError(f"Expected class indices as label and target, two different ones, got {tuple(goal)}.")
        self._goals.append(goal)
        self._queries.append(0)
        return len(self._goals) - 1

    def queries(self, ticket: int) -> int:
        """Give the number of queries asked for one image so far."""
        return self._queries[ticket]

    def spent(self, ticket: int) -> bool:
        """Tell whether an image has no query left."""
        return self._queries[ticket] >= self._budget

    @contextmanager
    def stopwatch(self) -> Iterator[None]:
        """Let the time spent inside the block count as wall time of the attack."""
        started = perf_counter_ns()
        try:
            yield
        finally:
            self._wall_ns += perf_counter_ns() - started

    def ask(self, images: Image, tickets: Sequence[int]) -> list[Answer | None]:
        """Submit one batch and collect its answers."""
        self.submit(images, tickets)
        return self.collect()

    def submit(self, images: Image, tickets: Sequence[int]) -> None:
        """Ask for the scores of one image for each ticket; every one of them counts as a query, answered or not.

        Args:
            images: (N, H, W, 3) uint8, N at most ``batch``; they may be changed afterwards.
            tickets: N different tickets.

        Raises:
            BudgetError: If one of the images has no query left; then none is asked.
            EngineError: If the engine raised; what else is under way is lost then.
            InputError: If the images do not fit the oracle.
            TargetChangedError: If the engine is found to be another one than at the beginning.
        """
        self._check(images, tickets)
        for ticket in tickets:
            self._queries[ticket] += 1
        self._begin(images, [self._goals[ticket] for ticket in tickets])

    def collect(self) -> list[Answer | None]:
        """Wait for the oldest batch that was submitted.

        Returns:
            One answer per image, in order; None where the engine's scores were not finite.

        Raises:
            EngineError: If the engine raised, or gave scores of another shape than one row per image; what else is
                under way is lost then.
            InputError: If a label lies outside the engine's classes.
        """
        flight = self._flights.pop(0)
        outputs = flight.outputs
        if outputs is None:
            assert self._pipelined is not None
            with self._failures():
                outputs, ns = self._pipelined.collect()
            self._engine_ns += ns
        if outputs.ndim != 2 or len(outputs) != flight.rows:
            raise EngineError(f"The engine gave scores of shape {outputs.shape} for {flight.rows} images.")
        return self._answers(outputs[: len(flight.goals)], flight.goals)

    def _check(self, images: Image, tickets: Sequence[int]) -> None:
        count = len(tickets)
        if images.dtype != np.uint8 or images.shape != (count, *self.size, 3) or not 1 <= count <= self._batch:
            raise InputError(
                f"Expected 1..{self._batch} uint8 images of {self.size} for {count} tickets, "
                f"got {images.dtype} {images.shape}."
            )
        if len(set(tickets)) != count:
            raise InputError("Expected each image once in a batch, got a ticket twice.")
        for ticket in tickets:
            if self._queries[ticket] >= self._budget:
                raise BudgetError(f"Image {ticket} has used up its {self._budget} queries. End its attack.")

    def _begin(self, images: Image, goals: list[Goal]) -> None:
        count = len(images)
        if self._pad and count < self._batch:
            images = np.concatenate([images, np.broadcast_to(images[:1], (self._batch - count, *images.shape[1:]))])
        began = perf_counter_ns()
        tensor = self._preprocessing.tensor(images)
        ready = perf_counter_ns()
        self._preprocessing_ns += ready - began
        self._calls += 1
        self._evaluations += len(images)
        outputs = None
        with self._failures():
            if self._pipelined:
                self._pipelined.submit(tensor)
            else:
                try:
                    outputs = self._engine.infer(tensor)
                finally:
                    self._engine_ns += perf_counter_ns() - ready
        self._flights.append(_Flight(goals, len(images), outputs))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Let whatever a backend raises become a row with a reason, never a lost run."""
        try:
            yield
        except TargetChangedError:  # what would follow is measured on something else
            raise
        except Exception as error:
            self._flights.clear()
            raise EngineError(f"The engine failed: {type(error).__name__}: {error}") from error

    def _answers(self, outputs: Floats, goals: list[Goal]) -> list[Answer | None]:
        # The engine leaves the caches cold, so each array operation here costs several times what it does in a loop.
        classes = [goal.label if goal.target is None else goal.target for goal in goals]
        if max(classes) >= outputs.shape[1]:
            raise InputError(
                f"Label {max(classes)} is outside the engine's {outputs.shape[1]} classes. Check the label file."
            )
        finite: NDArray[np.bool_] = np.isfinite(outputs)
        sound = finite.all()
        if not sound:
            outputs = np.where(finite, outputs, np.float32(0))
        seen = seen_by_attacker(outputs, self._access, output_kind=self._output_kind)
        columns = zip(seen, _margins(seen, classes), outputs.argmax(axis=1).tolist(), goals, strict=True)
        answers: list[Answer | None] = [
            Answer(row, margin, top != goal.label) if goal.target is None else Answer(row, -margin, top == goal.target)
            for row, margin, top, goal in columns
        ]
        if not sound:
            answers = [answer if row.all() else None for answer, row in zip(answers, finite, strict=True)]
        return answers


def _margins(seen: Floats, classes: list[int]) -> list[float]:
    own = np.arange(len(seen)), np.array(classes)
    others = seen.copy()
    others[own] = -np.inf
    margins: list[float] = (seen[own] - others.max(axis=1)).tolist()
    return margins
