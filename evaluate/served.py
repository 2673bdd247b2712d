"""What engines answer to one data set that reaches them in several ways; equal pixels are asked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RobustMQError
from ..core.files import sha256_bytes, sha256_json
from ..core.provenance import available_cores
from ..inputs.dataset import Dataset, Sample
from ..inputs.loader import Failure
from .decoded_sets import Images, PreparedBatch, Way, prepared_batches
from .prepared_sets import PreparedSets
from .target import Target, answer

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
) -> Served:
    """Ask every engine about every image in every way; all engines see a batch before the next is decoded.

    Args:
        dataset: Labelled images.
        ways: Names are unique; those that need a package that is not installed are left out with the reason.
        targets: Engines that take images of the ways' size, each with its own normalisation.
        progress: Called with (images done, all).
        prepared: Where batches that earlier runs prepared are looked for, and kept; None for nowhere.

    Raises:
        InputError: If no way can run, or no image can be prepared in all of them.
    """
    missing = {way.name: reason for way in ways if (reason := way.pipeline.missing)}
    able = [way for way in ways if way.name not in missing]
    if not able:
        raise InputError(f"No way can run here: {next(iter(missing.values()))}")
    collector = _Collector(targets)
    batches = prepared_batches(dataset, able, batch=_BATCH, threads=available_cores(), prepared=prepared)
    for number, batch in enumerate(batches):
        collector.add(batch)
        if progress is not None:
            progress(min(len(dataset), (number + 1) * _BATCH), len(dataset))
    return collector.served(missing)


class _Collector:
    """Collects the answers batch by batch."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self._samples: list[Sample] = []
        self._failures: list[Failure] = []
        self._hashes: dict[str, list[str]] = {}
        self._answers: dict[tuple[str, str], list[NDArray[np.int64]]] = {}
        self._broken: dict[str, str] = {}

    def add(self, batch: PreparedBatch) -> None:
        self._samples += batch.samples
        self._failures += batch.failures
        if not batch.samples:
            return
        hashes = {name: sha256_bytes(images.tobytes()) for name, images in batch.images.items()}
        for name, sha256 in hashes.items():
            self._hashes.setdefault(name, []).append(sha256)
        for target in self._targets:
            if target.name not in self._broken:
                self._ask(target, batch.images, hashes)

    def _ask(self, target: Target, images: Mapping[str, Images], hashes: Mapping[str, str]) -> None:
        known: dict[str, NDArray[np.int64]] = {}
        try:
            for name, sha256 in hashes.items():
                if sha256 not in known:
                    found = answer(target, images[name])
                    known[sha256] = np.where(found.finite, found.prediction, NO_ANSWER)
                self._answers.setdefault((target.name, name), []).append(known[sha256])
        except RobustMQError as error:  # it is left out with the reason, the others go on
            self._broken[target.name] = str(error)

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
