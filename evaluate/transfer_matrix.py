"""Whom does an example made on one model fool? Every source against every engine, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RobustMQError
from ..core.files import sha256_bytes
from ..core.record import Record
from ..core.statistics import Interval, wilson
from .attacks.catalog import TransferEntry, transfer_entry
from .attacks.gradient import TransferTask
from .conditions import Condition
from .finished_cells import FinishedCells
from .masking import ZERO_GRADIENT_LIMIT
from .rates import failed, record, share
from .target import Floats, Target, answer, answers, scores, verify
from .twin.agreement import Agreement, agree
from .twin.twin import Twin
from .verdict import Route, verdict

Images = NDArray[np.uint8]

_AGREEMENT = "twin_agreement"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model that examples are made on.

    Attributes:
        name: What the records call it.
        kind: ``twin`` (of a target's own file), ``surrogate`` (another model) or ``ensemble``.
        sha256: Its file, or files joined by ``+``.
        twin: Its gradients, or None.
        missing: Why there is none; empty where there is.
        engine: Name of the target whose file it is; empty for others.
    """

    name: str
    kind: str
    sha256: str
    twin: Twin | None = None
    missing: str = ""
    engine: str = ""

    @property
    def key(self) -> dict[str, Any]:
        """What its examples and their records depend on, as JSON data."""
        pipeline = None if self.twin is None else self.twin.pipeline.to_json()
        graph = "" if self.twin is None else self.twin.sha256
        return {**_identity(self), "engine": self.engine, "missing": self.missing, "graph": graph, "pipeline": pipeline}


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The images of a matrix.

    Attributes:
        images: (N, H, W, 3) uint8 at model size, N >= 1.
        labels: (N,) true classes.
        hashes: SHA-256 of each image's stored bytes.
    """

    images: Images
    labels: NDArray[np.int64]
    hashes: Sequence[str]

    @classmethod
    def of(cls, images: Images, labels: Sequence[int], hashes: Sequence[str]) -> Pictures:
        """Take labels as plain numbers.

        Raises:
            InputError: If there is no image.
        """
        if not len(images):
            raise InputError("No image of the data set can be decoded. Check the files.")
        return cls(images=images, labels=np.array(labels, dtype=np.int64), hashes=hashes)

    @property
    def key(self) -> dict[str, Any]:
        """What the images are, as JSON data."""
        pixels = sha256_bytes(self.images.tobytes())
        return {"pixels": pixels, "labels": self.labels.tolist(), "hashes": list(self.hashes)}


def transfer_matrix(
    sources: Sequence[Source],
    targets: Sequence[Target],
    pictures: Pictures,
    condition: Condition,
    *,
    routes: Sequence[Route] = (),
    seed: int = 0,
    finished: FinishedCells | None = None,
) -> list[Record]:
    """Attack on every source and show the examples to every engine.

    Metrics, with the condition ``ATTACK from SOURCE``: ``transfer`` = the share fooled of the images that source and
    engine both get right when clean; ``twin_agreement``, for the twin of a target's file: the share of images on
    which both give the same answer. A source that cannot be used is one record of n 0 per engine, the reason a flag:
    no gradients, a twin below the gate of `Agreement`, or a failure, its own or that of the engine it is held against.
    An engine that fails on a source's examples is such a record too. With routes, the records of `verdict` follow.

    Args:
        sources: What examples are made on.
        targets: The engines.
        pictures: The images.
        condition: A transfer attack.
        routes: How the examples reach the engines beside as they are.
        seed: Seed of the attack.
        finished: Where pairs of source and engine that are finished are looked for, and kept; None for nowhere.

    Raises:
        InputError: If the condition is no transfer attack.
    """
    matrix = _Matrix(targets, pictures, condition, transfer_entry(condition), routes, seed, finished or FinishedCells())
    return [row for source in sources for row in matrix.rows(source)]


class _Matrix:
    def __init__(
        self,
        targets: Sequence[Target],
        pictures: Pictures,
        condition: Condition,
        entry: TransferEntry,
        routes: Sequence[Route],
        seed: int,
        finished: FinishedCells,
    ) -> None:
        self._targets, self._pictures, self._seed, self._routes = targets, pictures, seed, routes
        self._condition, self._entry, self._finished = condition, entry, finished
        self._clean: dict[str, Floats] = {}
        self._common = {
            "study": "transfer-matrix",
            "attack": condition.label,
            "routes": [asdict(route) for route in routes],
            "seed": seed,
            "pictures": pictures.key,
        }

    def rows(self, source: Source) -> list[Record]:
        """Give a source's agreement and its cells; its examples are made when a cell is not finished."""
        make = cache(partial(self._make, source))
        cells = [
            self._finished.records(
                {**self._common, "source": source.key, "target": target.key}, partial(self._cell, source, target, make)
            )
            for target in self._targets
        ]
        agreement = next(([row] for cell in cells for row in cell if row.metric == _AGREEMENT), [])
        return [*agreement, *(row for cell in cells for row in cell if row.metric != _AGREEMENT)]

    def _make(self, source: Source) -> _Made:
        agreement: list[Record] = []
        try:
            seen = self._agreement(source)
            agreement = _agreement_records(source, seen, self._seed)
            refusal = source.missing or (seen.refusal if seen else "")
            examples = None if source.twin is None or refusal else self._examples(source.twin)
        except RobustMQError as error:
            return _Made(agreement=agreement, error=error)
        return _Made(agreement=agreement, examples=examples, refusal=refusal)

    def _cell(self, source: Source, target: Target, make: Callable[[], _Made]) -> list[Record]:
        """Give the records of a pair, with the agreement in front, which every pair of the source keeps."""
        made = make()
        if made.error is not None:
            return [*made.agreement, self._failed(target, source, made.error)]
        if made.examples is None:
            return [*made.agreement, self._transfer(target, source, wilson(0, 0), (made.refusal,))]
        found = [self._fooled(target, source, made.examples), *self._verdict(target, source, made.examples)]
        try:
            verify(target)
        except RobustMQError as error:
            found = [self._failed(target, source, error)]
        return [*made.agreement, *found]

    def _agreement(self, source: Source) -> Agreement | None:
        """Compare a twin with its own engine; other sources need not agree with anyone."""
        target = next((target for target in self._targets if target.name == source.engine), None)
        if target is None or source.twin is None:
            return None
        logits = target.engine.spec.output_kind == "logits"
        return agree(source.twin.scores(self._pictures.images), self._clean_scores(target), logits=logits)

    def _examples(self, twin: Twin) -> _Examples:
        pictures = self._pictures
        knows = twin.scores(pictures.images).argmax(axis=1) == pictures.labels
        task = TransferTask(
            images=pictures.images, labels=pictures.labels, hashes=pictures.hashes, source=twin, seed=self._seed
        )
        made = self._entry.craft(task, dict(self._condition.settings))
        flags = ("zero-gradients",) if made.zero_gradient_share > ZERO_GRADIENT_LIMIT else ()
        return _Examples(images=made.adversarials, knows=knows, flags=flags)

    def _fooled(self, target: Target, source: Source, examples: _Examples) -> Record:
        labels = self._pictures.labels
        try:
            both = examples.knows & answers(self._clean_scores(target)).right(labels)
            shown = answer(target, examples.images)
        except RobustMQError as error:
            return self._failed(target, source, error)
        fooled = share(~shown.right(labels)[both])
        return self._transfer(target, source, fooled, (*examples.flags, *shown.flags))

    def _verdict(self, target: Target, source: Source, examples: _Examples) -> list[Record]:
        if not self._routes:
            return []
        return verdict(
            target,
            self._pictures.images,
            examples.images,
            self._pictures.labels,
            condition=self._label(source),
            routes=self._routes,
            seed=self._seed,
            identity=_identity(source),
        )

    def _clean_scores(self, target: Target) -> Floats:
        if target.name not in self._clean:
            self._clean[target.name] = scores(target, self._pictures.images)
        return self._clean[target.name]

    def _label(self, source: Source) -> str:
        return f"{self._condition.label} from {source.name}"

    def _transfer(self, target: Target, source: Source, found: Interval, flags: tuple[str, ...]) -> Record:
        label, identity = self._label(source), _identity(source)
        return record(target.name, label, "transfer", found, self._seed, flags=flags, identity=identity)

    def _failed(self, target: Target, source: Source, error: RobustMQError) -> Record:
        return failed(target.name, self._label(source), "transfer", error, self._seed, _identity(source))


@dataclass(frozen=True, kw_only=True)
class _Examples:
    images: Images
    knows: NDArray[np.bool_]  # (N,) whether the source gets the clean image right
    flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Made:
    agreement: list[Record]
    examples: _Examples | None = None
    refusal: str = ""  # why there are none
    error: RobustMQError | None = None  # what broke on the way to them


def _agreement_records(source: Source, seen: Agreement | None, seed: int) -> list[Record]:
    if seen is None:
        return []
    # JSON has no NaN, which stands for an engine that puts out no logits.
    difference = seen.largest_difference if np.isfinite(seen.largest_difference) else None
    identity = {**_identity(source), "largest_logit_difference": difference}
    same, flags = seen.same, ("below-gate",) if seen.refusal else ()
    return [record(source.engine, f"clean from {source.name}", _AGREEMENT, same, seed, flags=flags, identity=identity)]


def _identity(source: Source) -> dict[str, Any]:
    return {"source": source.name, "source_kind": source.kind, "source_sha256": source.sha256}
