"""Walks a data set chunk by chunk, stores one task per engine, condition and chunk, and resumes where it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import EngineError, InputError, RobustMQError, TargetChangedError
from ..core.files import sha256_json
from ..core.store import ImageRow, Store, Task
from ..inputs.dataset import check_labels
from .attacks.catalog import blind_reason, is_transfer, needs_surrogate
from .cells import Shown, attack_with_queries, shown_images
from .chunk import Chunk, LoadedChunk
from .conditions import CLEAN, Condition
from .plan import Run
from .prepared_sets import PreparedSets
from .set_recipes import check_unchanged, showing
from .target import Target, answer, verify
from .verdict import named_route, through

Progress = Callable[[int, int, str], None]


class Gallery(Protocol):
    """Keeps some of the images that were shown to engines, for the report."""

    def keep(self, condition: Condition, engine: str, positions: NDArray[np.int64], images: NDArray[np.uint8]) -> None:
        """Look at (N, H, W, 3) uint8 images shown to an engine (``*``: to all of them) and keep the wanted ones."""


def run(
    run: Run,
    store: Store,
    *,
    progress: Progress | None = None,
    gallery: Gallery | None = None,
    prepared: PreparedSets | None = None,
) -> None:
    """Measure what the store does not hold yet.

    Every task is stored as soon as it is measured; a cell that can't be measured becomes a skipped task, an engine
    that raises a failed one, and the run goes on.

    Args:
        run: What is measured.
        store: Where the answers go.
        progress: Called with (tasks done, all, the last one's name).
        gallery: Keeps some of the images.
        prepared: Where loaded and corrupted images of earlier runs are looked for, and kept; None for nowhere.

    Raises:
        InputError: If a label lies outside an engine's classes, or no image of the data set can be decoded.
        TargetChangedError: If an engine is found to be another one than at the beginning; its cell is not stored.
    """
    for target in run.targets:
        check_labels(run.dataset.samples, target.engine.spec.classes)
    _Walk(run, store, progress, gallery, prepared).complete()


class _Walk:
    def __init__(
        self,
        run: Run,
        store: Store,
        progress: Progress | None,
        gallery: Gallery | None,
        prepared: PreparedSets | None,
    ) -> None:
        self._run, self._store, self._gallery, self.prepared = run, store, gallery, prepared
        self._progress = progress or (lambda done, total, label: None)
        self._stored = store.done()
        self._total = len(run.keys())
        self._finished = 0

    def complete(self) -> None:
        for chunk in self._run.chunks():
            _ChunkWalk(self, chunk).complete()

    def pending(self, condition: Condition, chunk: Chunk) -> list[tuple[Target, str, dict[str, Any]]]:
        """Give the targets that still need this cell, with key and identity; the others count as finished."""
        found = []
        for target in self._run.targets:
            identity = self._run.identity(target, condition, chunk)
            key = sha256_json(identity)
            if key in self._stored:
                self._finished += 1
            else:
                found.append((target, key, identity))
        return found

    def add(self, task: Task) -> None:
        self._store.add(task)
        self._finished += 1
        self._progress(self._finished, self._total, f"{task.condition} on {task.engine}")

    @property
    def run(self) -> Run:
        return self._run

    @property
    def store(self) -> Store:
        return self._store

    def keep(self, condition: Condition, engine: str, loaded: LoadedChunk, images: NDArray[np.uint8]) -> None:
        if self._gallery is not None:
            self._gallery.keep(condition, engine, loaded.positions, images)


class _ChunkWalk:
    """Measures all cells of one chunk; decodes it only if something is missing."""

    def __init__(self, walk: _Walk, chunk: Chunk) -> None:
        self._walk, self._chunk = walk, chunk
        self._loaded: LoadedChunk | None = None
        self._last: tuple[Condition, Shown | None] | None = None
        self._taken: tuple[Condition, NDArray[np.uint8]] | None = None
        self._adversarials: dict[str, NDArray[np.uint8]] = {}  # of the last attack, engine by engine

    def complete(self) -> None:
        for condition in self._walk.run.conditions:
            pending = self._walk.pending(condition, self._chunk)
            if pending and condition.unsupported:
                self._skip(condition, pending, condition.unsupported)
            elif pending and needs_surrogate(condition.base) and (missing := self._missing_surrogate()):
                self._skip(condition, pending, missing)
            elif pending:
                self._measure(condition, pending)

    def _missing_surrogate(self) -> str:
        surrogate = self._walk.run.surrogate
        return "no model to take gradients from" if surrogate is None else surrogate.missing

    def _skip(self, condition: Condition, pending: list[tuple[Target, str, dict[str, Any]]], reason: str) -> None:
        for target, key, identity in pending:
            self._walk.add(_task(target, key, identity, condition, status="skipped", reason=reason))

    def _measure(self, condition: Condition, pending: list[tuple[Target, str, dict[str, Any]]]) -> None:
        loaded = self._decoded()
        try:
            shown = self._shown(condition.base, loaded)
        except (EngineError, InputError) as error:  # the images of this condition cannot be made; the run goes on
            for target, key, identity in pending:
                self._walk.add(_task(target, key, identity, condition, status="failed", reason=str(error)))
            return
        for target, key, identity in pending:
            if blind := blind_reason(condition.base, self._walk.run.score_access(target)):
                self._skip(condition, [(target, key, identity)], blind)
                continue
            try:
                rows = self._rows(target, condition, loaded, shown)
                verify(target)
            except TargetChangedError:  # what would follow is measured on something else
                raise
            except Exception as error:  # an engine may raise anything; its cell fails, the run goes on
                reason = str(error) if isinstance(error, RobustMQError) else f"{type(error).__name__}: {error}"
                self._walk.add(_task(target, key, identity, condition, status="failed", reason=reason))
            else:
                self._walk.add(_task(target, key, identity, condition, status="measured", rows=rows))

    def _shown(self, condition: Condition, loaded: LoadedChunk) -> Shown | None:
        """Make the images of a condition that is the same for all engines, once for all of its routes."""
        if self._last is None or self._last[0] != condition:
            shown = None
            if condition.kind != "attack" or is_transfer(condition):
                shown = self._prepared(condition, loaded)
                self._walk.keep(condition, "*", loaded, shown.images)
            self._last = condition, shown
            self._adversarials.clear()
        return self._last[1]

    def _prepared(self, condition: Condition, loaded: LoadedChunk) -> Shown:
        """Make the images of a condition, or find what an earlier run made."""
        run, prepared = self._walk.run, self._walk.prepared
        if prepared is None or condition.kind not in ("corruption", "preset"):
            return shown_images(run, condition, self._chunk, loaded)
        recipe = showing(run, condition, self._chunk, loaded.names)
        found = prepared.find(recipe, loaded.images.shape)
        if found is not None:
            return Shown(images=found)
        shown = shown_images(run, condition, self._chunk, loaded)
        if condition.kind == "preset":  # it read the files once more
            check_unchanged(self._chunk.dataset.samples)
        prepared.keep(recipe, shown.images)
        return shown

    def _rows(
        self, target: Target, condition: Condition, loaded: LoadedChunk, shown: Shown | None
    ) -> Sequence[ImageRow]:
        if not len(loaded.images):
            return loaded.invalid
        if condition.route:
            delivered = self._delivered(target, condition.base, loaded) if shown is None else shown.images
            routed = self._routed(condition, delivered, shared=shown is not None)
            return loaded.rows(answer(target, routed), images=delivered)
        if shown is not None:
            answers = answer(target, shown.images)
            return loaded.rows(answers, images=shown.images, zero_gradient=shown.zero_gradient)
        return self._attacked(target, condition, loaded)

    def _attacked(self, target: Target, condition: Condition, loaded: LoadedChunk) -> Sequence[ImageRow]:
        rows, adversarials = attack_with_queries(
            self._walk.run, target, condition, self._chunk, loaded, self._clean_rows(target)
        )
        self._adversarials[target.name] = adversarials
        self._walk.keep(condition, target.name, loaded, adversarials)
        return rows

    def _routed(self, condition: Condition, delivered: NDArray[np.uint8], *, shared: bool) -> NDArray[np.uint8]:
        """Take images on a route: once for all engines where they are delivered the same ones."""
        if self._taken is not None and self._taken[0] == condition:
            return self._taken[1]
        found = through(delivered, named_route(condition.route), self._walk.run.targets[0].pipeline)
        self._taken = (condition, found) if shared else None
        return found

    def _delivered(self, target: Target, condition: Condition, loaded: LoadedChunk) -> NDArray[np.uint8]:
        """Give what an attack on this engine delivered; after an interruption it is run again, to the same images."""
        if target.name not in self._adversarials:
            self._attacked(target, condition, loaded)
        return self._adversarials[target.name]

    def _decoded(self) -> LoadedChunk:
        if self._loaded is None:
            self._loaded = self._chunk.load(self._walk.run.targets[0].pipeline, self._walk.prepared)
        return self._loaded

    def _clean_rows(self, target: Target) -> Sequence[ImageRow]:
        """Read the engine's clean answers back; they were stored before any attack was begun."""
        key = sha256_json(self._walk.run.identity(target, CLEAN, self._chunk))
        for task in self._walk.store.tasks([key]):
            if task.status == "measured":
                return task.rows
        raise InputError("the clean images could not be measured, so there is nothing to attack")


def _task(
    target: Target,
    key: str,
    identity: Mapping[str, Any],
    condition: Condition,
    *,
    status: Any,
    reason: str = "",
    rows: Sequence[ImageRow] = (),
) -> Task:
    return Task(
        key=key,
        engine=target.name,
        condition=condition.label,
        status=status,
        reason=reason,
        identity=identity,
        rows=rows,
    )
