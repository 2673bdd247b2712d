"""Whom does an example made on one model fool? Every source against every engine, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.record import Record
from ..core.statistics import wilson
from .attacks.catalog import ATTACKS, TransferEntry
from .attacks.gradient import TransferResult, TransferTask
from .conditions import Condition
from .masking import ZERO_GRADIENT_LIMIT
from .rates import record, share
from .target import Target, answer, scores
from .twin.agreement import Agreement, agree
from .twin.twin import Twin
from .verdict import Route, verdict

Images = NDArray[np.uint8]


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


def transfer_matrix(
    sources: Sequence[Source],
    targets: Sequence[Target],
    pictures: Pictures,
    condition: Condition,
    *,
    routes: Sequence[Route] = (),
    seed: int = 0,
) -> list[Record]:
    """Attack on every source and show the examples to every engine.

    Metrics, with the condition ``ATTACK from SOURCE``: ``transfer`` = the share fooled of the images that source and
    engine both get right when clean; ``twin_agreement``, for the twin of a target's file: the share of images on
    which both give the same answer. A source that cannot be used is one record of n 0 per engine, the reason a flag:
    no gradients, or a twin below the gate of `Agreement`. With routes, the records of `verdict` follow.

    Raises:
        InputError: If the condition is no transfer attack.
    """
    entry = ATTACKS.get(condition.name)
    if not isinstance(entry, TransferEntry):
        raise InputError(f"Expected a transfer attack, got '{condition.label}'. Others ask the engine or learn first.")
    right = {target.name: _right(target, pictures.images, pictures.labels) for target in targets}
    found: list[Record] = []
    for source in sources:
        label, seen = f"{condition.label} from {source.name}", _agreement(source, targets, pictures)
        found += _agreement_records(source, seen, seed)
        refusal = source.missing or (seen.refusal if seen else "")
        if source.twin is None or refusal:
            found += [
                record(t.name, label, "transfer", wilson(0, 0), seed, flags=(refusal,), identity=_identity(source))
                for t in targets
            ]
            continue
        knows = source.twin.scores(pictures.images).argmax(axis=1) == pictures.labels
        made = entry.craft(_task(source.twin, pictures, seed), dict(condition.settings))
        for target in targets:
            both = knows & right[target.name]
            fooled = both & ~_right(target, made.adversarials, pictures.labels)
            passed = share(fooled[both])
            found.append(
                record(target.name, label, "transfer", passed, seed, flags=_flags(made), identity=_identity(source))
            )
            if routes:
                found += verdict(
                    target,
                    pictures.images,
                    made.adversarials,
                    pictures.labels,
                    condition=label,
                    routes=routes,
                    seed=seed,
                    identity=_identity(source),
                )
    return found


def _task(twin: Twin, pictures: Pictures, seed: int) -> TransferTask:
    return TransferTask(images=pictures.images, labels=pictures.labels, hashes=pictures.hashes, source=twin, seed=seed)


def _right(target: Target, images: Images, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    answers = answer(target, images)
    right: NDArray[np.bool_] = answers.finite & (answers.prediction == labels)
    return right


def _agreement(source: Source, targets: Sequence[Target], pictures: Pictures) -> Agreement | None:
    """Compare a twin with its own engine; other sources need not agree with anyone."""
    target = next((target for target in targets if target.name == source.engine), None)
    if target is None or source.twin is None:
        return None
    logits = target.engine.spec.output_kind == "logits"
    return agree(source.twin.scores(pictures.images), scores(target, pictures.images), logits=logits)


def _agreement_records(source: Source, seen: Agreement | None, seed: int) -> list[Record]:
    if seen is None:
        return []
    # JSON has no NaN, which stands for an engine that puts out no logits.
    difference = seen.largest_difference if np.isfinite(seen.largest_difference) else None
    identity = {**_identity(source), "largest_logit_difference": difference}
    same, flags = seen.same, ("below-gate",) if seen.refusal else ()
    return [
        record(source.engine, f"clean from {source.name}", "twin_agreement", same, seed, flags=flags, identity=identity)
    ]


def _flags(made: TransferResult) -> tuple[str, ...]:
    return ("zero-gradients",) if made.zero_gradient_share > ZERO_GRADIENT_LIMIT else ()


def _identity(source: Source) -> dict[str, Any]:
    return {"source": source.name, "source_kind": source.kind, "source_sha256": source.sha256}
