"""What engines answer to one data set that reaches them in several ways; equal pixels are asked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RobustMQError
from ..core.files import sha256_bytes, sha256_json
from ..core.provenance import available_cores
from ..inputs.dataset import Dataset, Sample
from ..inputs.loader import Failure
from .decoded_sets import Images, PreparedBatch, Way, prepared_batches
from .finished_cells import FinishedCells
from .prepared_sets import PreparedSets
from .set_recipes import loading
from .target import Target, answer, verify

NO_ANSWER = -1
_BATCH = 32

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Served:
    """The answers to the N images that every way could prepare.

    Attributes:
        labels: (N,) int64.
        names: The N images.
        answers: (engine, way) to (N,) int64, ``NO_ANSWER`` where scores were not finite.
        pixels: Way to a hash over all its images: equal hashes are equal pixels, asked once.
        failures: Images that some way could not prepare, with the reason.
        missing: Way that cannot run here to the reason.
        broken: Engine that failed to the reason; it has no answers.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]
    answers: Mapping[tuple[str, str], NDArray[np.int64]]
    pixels: Mapping[str, str]
    failures: tuple[Failure, ...]
    missing: Mapping[str, str]
    broken: Mapping[str, str]

    def right(self, engine: str, way: str) -> NDArray[np.bool_]:
        """Tell which images an engine answers rightly, (N,)."""
        found: NDArray[np.bool_] = self.answers[engine, way] == self.labels
        return found

    @property
    def ways(self) -> list[str]:
        """The ways that ran."""
        return list(self.pixels)


def serve(
    dataset: Dataset,
    ways: Sequence[Way],
    targets: Sequence[Target],
    *,
    progress: Progress | None = None,
    prepared: PreparedSets | None = None,
    finished: FinishedCells | None = None,
) -> Served:
    """Ask every engine about every image in every way; all engines see a batch before the next is decoded.

    Args:
        dataset: Labelled images.
        ways: Names are unique; those that need a package that is not installed are left out with the reason.
        targets: Engines that take images of the ways' size, each with its own normalisation.
        progress: Called with (images done, all).
        prepared: Where batches that earlier runs prepared are looked for, and kept; None for nowhere.
        finished: Where an engine's answers to a batch, in all ways, are looked for, and kept if no image of it failed;
            None for nowhere. A batch that every engine has answered is not prepared.

    Raises:
        InputError: If no way can run, or no image can be prepared in all of them.
    """
    missing = {way.name: reason for way in ways if (reason := way.pipeline.missing)}
    able = [way for way in ways if way.name not in missing]
    if not able:
        raise InputError(f"No way can run here: {next(iter(missing.values()))}")
    collector = _Collector(able, targets, prepared, finished or FinishedCells())
    for start in range(0, len(dataset), _BATCH):
        collector.add(replace(dataset, samples=dataset.samples[start : start + _BATCH]))
        if progress is not None:
            progress(min(len(dataset), start + _BATCH), len(dataset))
    return collector.served(missing)


class _Collector:
    """Collects the answers batch by batch."""

    def __init__(
        self, ways: Sequence[Way], targets: Sequence[Target], prepared: PreparedSets | None, finished: FinishedCells
    ) -> None:
        self._ways, self._targets, self._prepared, self._finished = ways, targets, prepared, finished
        self._samples: list[Sample] = []
        self._failures: list[Failure] = []
        self._hashes: dict[str, list[str]] = {}
        self._answers: dict[tuple[str, str], list[NDArray[np.int64]]] = {}
        self._broken: dict[str, str] = {}

    def add(self, dataset: Dataset) -> None:
        """Take a batch's answers that are finished, and ask for the others."""
        cells = self._cells(dataset)
        found = {name: cell for name in cells if (cell := self._finished.find(cells[name])) is not None}
        if len(found) == len(self._targets):
            batch = PreparedBatch(samples=dataset.samples, images={}, failures=())
            hashes = next(iter(found.values()))["pixels"]
        else:
            batch = self._prepare(dataset)
            hashes = {name: sha256_bytes(images.tobytes()) for name, images in batch.images.items()}
        self._samples += batch.samples
        self._failures += batch.failures
        if not batch.samples:
            return
        for name, sha256 in hashes.items():
            self._hashes.setdefault(name, []).append(sha256)
        for target in (target for target in self._targets if target.name not in self._broken):
            if target.name in found:
                self._take(target, found[target.name]["answers"])
            elif (answers := self._ask(target, batch.images, hashes)) and cells and not batch.failures:
                self._finished.keep(cells[target.name], {"pixels": hashes, "answers": answers})

    def _cells(self, dataset: Dataset) -> dict[str, dict[str, Any]]:
        """Give every engine's cell of a batch, or none where nothing can be kept."""
        if self._finished.folder is None:
            return {}
        try:
            shown = {way.name: loading(dataset.samples, way.pipeline, way.quality) for way in self._ways}
        except InputError:  # a file that cannot be read has no hash; it will be one of the failures
            return {}
        return {target.name: {"study": "served", "target": target.key, "shown": shown} for target in self._targets}

    def _prepare(self, dataset: Dataset) -> PreparedBatch:
        threads = available_cores()
        (batch,) = prepared_batches(dataset, self._ways, batch=_BATCH, threads=threads, prepared=self._prepared)
        return batch

    def _ask(self, target: Target, images: Mapping[str, Images], hashes: Mapping[str, str]) -> dict[str, list[int]]:
        """Give the answers way by way, or none where the engine breaks."""
        known: dict[str, list[int]] = {}
        try:
            for name, sha256 in hashes.items():
                if sha256 not in known:
                    found = answer(target, images[name])
                    known[sha256] = np.where(found.finite, found.prediction, NO_ANSWER).tolist()
            verify(target)
        except RobustMQError as error:  # it is left out with the reason, the others go on
            self._broken[target.name] = str(error)
            return {}
        answers = {name: known[sha256] for name, sha256 in hashes.items()}
        self._take(target, answers)
        return answers

    def _take(self, target: Target, answers: Mapping[str, Sequence[int]]) -> None:
        for name, found in answers.items():
            self._answers.setdefault((target.name, name), []).append(np.array(found, np.int64))

    def served(self, missing: Mapping[str, str]) -> Served:
        if not self._samples:
            raise InputError(f"No image can be prepared in every way; the first: {self._failures[0].reason}")
        whole = {place: found for place, found in self._answers.items() if place[0] not in self._broken}
        return Served(
            labels=np.array([sample.label for sample in self._samples], dtype=np.int64),
            names=tuple(sample.name for sample in self._samples),
            answers={place: np.concatenate(found) for place, found in whole.items()},
            pixels={name: sha256_json(found) for name, found in self._hashes.items()},
            failures=tuple(self._failures),
            missing=missing,
            broken=self._broken,
        )
