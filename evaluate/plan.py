"""What a run measures: conditions, engines, images, and the key of every task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.files import sha256_json
from ..core.store import SCHEMA_VERSION
from ..inputs.dataset import Dataset
from .attacks.catalog import access_used, controls, is_learned, is_targeted, needs_surrogate, norm_of
from .attacks.learn import Craft, ScoredSource
from .chunk import Chunk
from .conditions import CLEAN, Condition
from .corruptions.catalog import missing
from .corruptions.frost import textures_sha256
from .corruptions.storage import Storage
from .score_access import ScoreAccess
from .target import Target

CHUNK_IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """Where transfer attacks take their gradients from.

    Attributes:
        source: Gives gradients, or None where the model has an operator without a gradient rule.
        sha256: The model file behind it.
        missing: Why there is no source; empty where there is one.
    """

    source: ScoredSource | None
    sha256: str
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run measures.

    Attributes:
        conditions: What is done to the images; the clean one is always measured.
        seed: Seed of every random stream.
        score_access: What a query attack sees of the engine's output; None for all that the engine puts out.
        chunk_images: Images per task; changes nothing but how often results are stored.
        storage: How corrupted images are kept before an engine sees them.
        frost_dir: Photographs for the corruption ``frost``, or None for those of an installed imagecorruptions.
    """

    conditions: Sequence[Condition]
    seed: int = 0
    score_access: ScoreAccess | None = None
    chunk_images: int = CHUNK_IMAGES
    storage: Storage = "raw"
    frost_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One evaluation: the plan over targets and images, with its task keys.

    Attributes:
        plan: What is measured.
        targets: The engines; the first is the reference.
        dataset: The images.
        surrogate: Source of gradients, or None.
        others: Labelled images that attacks may learn from, none of them among those of ``dataset``; None for none.
        learned: Attacks learned so far, by label, so that each is learned once.
    """

    plan: Plan
    targets: Sequence[Target]
    dataset: Dataset
    surrogate: Surrogate | None = None
    others: Dataset | None = None
    learned: dict[str, Craft] = field(default_factory=dict, repr=False, compare=False)

    def chunks(self) -> Iterator[Chunk]:
        """Cut the data set into the chunks that tasks are made of."""
        size = self.plan.chunk_images
        for first in range(0, len(self.dataset.samples), size):
            yield Chunk(first=first, dataset=replace(self.dataset, samples=self.dataset.samples[first : first + size]))

    def keys(self) -> list[str]:
        """Give the keys of all tasks of the run, in the order in which they are measured."""
        return [
            sha256_json(self.identity(target, condition, chunk))
            for chunk in self.chunks()
            for condition in self.conditions
            for target in self.targets
        ]

    @property
    def conditions(self) -> list[Condition]:
        """The plan's conditions, the clean one first, each once; with the reason where one can't be made here.

        The controls of its attacks are at the end: no such attack is measured without.
        """
        asked = [self._with_reason(condition) for condition in [CLEAN, *self.plan.conditions]]
        return list(dict.fromkeys([*asked, *controls(asked)]))

    def _with_reason(self, condition: Condition) -> Condition:
        if is_learned(condition.base) and not condition.unsupported:
            return replace(condition, unsupported=self._too_few(condition))
        if condition.kind != "corruption" or condition.unsupported:
            return condition
        return replace(condition, unsupported=missing(condition.name, frost_dir=self.plan.frost_dir))

    def _too_few(self, condition: Condition) -> str:
        wanted, left = condition["images"], 0 if self.others is None else len(self.others)
        if left >= wanted:
            return ""
        return (
            f"'{condition.name}' learns on {wanted} images that are not attacked, and {left} of the data are left: "
            "attack fewer with --images, or name fewer to learn on, as in images=100"
        )

    def lesson(self, condition: Condition) -> Dataset:
        """Give the images that a learned attack learns from, of which there are enough."""
        assert self.others is not None
        return replace(self.others, samples=self.others.samples[: condition["images"]])

    @property
    def target_classes(self) -> int:
        """Number of classes that targeted attacks draw from: those that every engine has."""
        return min(target.engine.spec.classes for target in self.targets)

    def score_access(self, target: Target) -> ScoreAccess:
        """Give what a query attack sees of a target: what was asked for, else its raw output."""
        return self.plan.score_access or target.engine.spec.output_kind

    def identity(self, target: Target, condition: Condition, chunk: Chunk) -> dict[str, Any]:
        """Give everything a task's rows depend on, as JSON data."""
        identity = {
            "schema": SCHEMA_VERSION,
            "robustmq": __version__,
            "target": dict(target.identity),
            "pipeline": target.pipeline.to_json(),
            "condition": condition.label,
            "seed": self.plan.seed,
            "dataset": self.dataset.manifest_sha256,
            "chunk": [chunk.first, chunk.key],
        }
        if condition.unsupported:  # a skipped task is done, until what was missing is there
            identity["unsupported"] = condition.unsupported
        if condition.kind == "corruption":
            identity["storage"] = self.plan.storage
            if condition.name == "frost" and not condition.unsupported:
                identity["frost"] = textures_sha256(self.plan.frost_dir)
        if condition.base.kind == "attack":
            identity["score_access"] = access_used(condition.base, self.score_access(target))
            identity["surrogate"] = (
                self.surrogate.sha256 if self.surrogate and needs_surrogate(condition.base) else None
            )
            if not condition.unsupported and norm_of(condition) == "patch":
                identity["norm"] = "patch"
        if is_learned(condition.base) and not condition.unsupported:
            identity["learned_on"] = self.lesson(condition).manifest_sha256
        if is_targeted(condition):
            identity["target_classes"] = self.target_classes
        return identity
