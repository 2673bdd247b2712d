"""Finding an undocumented engine's contract: a few labelled images are shown in every usual way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.manifest import RANGES, Manifest
from ..core.statistics import Interval, holm, log_choose, mcnemar_exact, wilson
from ..engines.protocol import Engine
from ..inputs.pipeline import Pipeline
from .score_kind import log_probabilities, looks, score_kind
from .vendor import fit

Floats = NDArray[np.float32]

_OFFSETS = (0, 1)  # 1: a background class in front
_COLOURS = ("rgb", "bgr")
_ALPHA = 0.05
_CHANCE_ALPHA = 0.01
_RESAMPLES = 20_000
_SIGNS_AT_ONCE = 1 << 22
_AS_PIXELS = "0..255"
_EQUAL = "same input within one level"


class Hypothesis(NamedTuple):
    """One way in which an engine may want its images and mean its scores."""

    range: str
    colour: str
    offset: int


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one alternative to the chosen contract gave.

    Attributes:
        question: ``range``, ``colour`` or ``offset``: the one thing that differs from the chosen contract.
        answer: The alternative.
        accuracy: Share of the images it gets right.
        log_likelihood: Mean natural logarithm of the label's probability.
        p_value: Of its difference to the chosen one, for all alternatives together (Holm); 1 for the chosen one.
        verdict: ``chosen``, ``worse``, ``better``, ``not distinguishable``, or that an 8-bit input gets the same.
    """

    question: str
    answer: str
    accuracy: Interval
    log_likelihood: float
    p_value: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was found.

    Attributes:
        manifest: The proposed manifest.
        found: Whether its accuracy is above what the best of all hypotheses reaches by chance.
        images: Number of images.
        evidence: One row per alternative, grouped by question.
        layout: The engine's layout, and what it was read off.
        scores: What the scores look like: the ground for the output kind.
    """

    manifest: Manifest
    found: bool
    images: int
    evidence: Sequence[Evidence]
    layout: str
    scores: str

    @property
    def open_questions(self) -> list[Evidence]:
        """The alternatives that these images cannot tell from the chosen contract."""
        return [row for row in self.evidence if row.verdict == "not distinguishable"]

    def to_json(self) -> dict[str, Any]:
        """Give the diagnosis as JSON data."""
        return {
            "found": self.found,
            "images": self.images,
            "manifest": self.manifest.to_json(),
            "layout": self.layout,
            "scores": self.scores,
            "evidence": [asdict(row) for row in self.evidence],
        }


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One hypothesis on the images: right (N,) bool, likelihood (N,) natural logarithm of the label's probability."""

    hypothesis: Hypothesis
    right: NDArray[np.bool_]
    likelihood: NDArray[np.float64]


def diagnose(
    engine: Engine,
    pipeline: Pipeline,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    classes: int | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Find the range, colour order, class offset and kind of score under which an engine knows labelled images.

    Every combination is run. The chosen one has the highest likelihood of the labels among those whose accuracy is not
    significantly below the best. What differs from it in one answer is then compared with it on the same images.

    Args:
        engine: Any engine.
        pipeline: Decoder, resizer and crop that made ``images``; its normalisation is not used.
        images: (N, H, W, 3) uint8 RGB at the engine's size.
        labels: (N,) int64 class indices.
        classes: Number of classes of the data, or None where only some are known.
        seed: Seed of the permutation test.

    Raises:
        InputError: If there are fewer than two images, or no class offset fits the engine.
    """
    if len(images) < 2 or len(images) != len(labels):
        raise InputError(f"Expected at least two labelled images, got {len(images)} and {len(labels)} labels.")
    offsets = _fitting(engine.spec.classes, labels, classes)
    ranges = _ranges(engine)
    asked = {key: _ask(engine, pipeline, images, key) for key in product(ranges, _COLOURS)}
    trials = {
        Hypothesis(*key, offset): _trial(Hypothesis(*key, offset), scores, labels)
        for key, scores in asked.items()
        for offset in offsets
    }
    same = frozenset(name for name in ranges if _same_as_pixels(engine, name))
    chosen = _choose(trials, same)
    scores = asked[chosen.hypothesis.range, chosen.hypothesis.colour]
    kind = score_kind(scores)
    return Diagnosis(
        manifest=_manifest(engine, chosen.hypothesis, kind, pipeline.name, classes),
        found=_above_chance(chosen, engine.spec.classes, len(trials)),
        images=len(images),
        evidence=_evidence(trials, chosen, same, seed),
        layout=f"{engine.spec.layout}: the input's shape {engine.spec.image_shape} allows no other",
        scores=f"{kind}: {looks(scores)}",
    )


def _ranges(engine: Engine) -> list[str]:
    """Give the ranges to try; an 8-bit input that states no grid takes pixels and nothing else."""
    only_pixels = engine.spec.dtype == "uint8" and engine.spec.input_grid is None
    return [_AS_PIXELS] if only_pixels else list(RANGES)


def _same_as_pixels(engine: Engine, name: str) -> bool:
    """Tell whether an 8-bit input's own grid undoes a normalisation, so that each pixel arrives within one level."""
    if engine.spec.dtype != "uint8" or engine.spec.input_grid is None:
        return False
    scale, zero_point = engine.spec.input_grid
    mean, std = (np.array(triple)[:, None] for triple in RANGES[name])
    pixels = np.arange(256, dtype=np.float64)
    levels = np.clip(np.rint((pixels / 255 - mean) / std / scale) + zero_point, 0, 255)
    return name == _AS_PIXELS or bool(np.abs(levels - pixels).max() <= 1)


def _fitting(given: int, labels: NDArray[np.int64], classes: int | None) -> list[int]:
    high = max(int(labels.max()), (classes or 1) - 1)
    found = [offset for offset in _OFFSETS if high + offset < given]
    if not found:
        raise InputError(
            f"The labels go up to {high}, but the engine gives {given} scores. Check that data and engine belong "
            "together."
        )
    return found


def _ask(engine: Engine, pipeline: Pipeline, images: NDArray[np.uint8], key: tuple[str, str]) -> Floats:
    fitted = fit(engine, pipeline, Manifest(range=key[0], colour=key[1]))
    step = engine.spec.fixed_batch or 16
    rows = []
    for start in range(0, len(images), step):
        batch = images[start : start + step]
        if engine.spec.fixed_batch:
            batch = np.resize(batch, (step, *batch.shape[1:]))
        rows.append(fitted.engine.infer(fitted.pipeline.tensor(batch)))
    return np.concatenate(rows)[: len(images)]


def _trial(hypothesis: Hypothesis, scores: Floats, labels: NDArray[np.int64]) -> _Trial:
    wanted = labels + hypothesis.offset
    # A score of a background class in front is no answer to the data's question.
    known = scores[:, hypothesis.offset :]
    prediction = np.where(np.isfinite(known), known, -np.inf).argmax(axis=1) + hypothesis.offset
    own = np.arange(len(labels)), wanted
    return _Trial(hypothesis=hypothesis, right=prediction == wanted, likelihood=log_probabilities(scores)[own])


def _choose(trials: Mapping[Hypothesis, _Trial], same_as_pixels: frozenset[str]) -> _Trial:
    best = max(trials.values(), key=lambda trial: (trial.right.sum(), trial.likelihood.mean()))
    near = [trial for trial in trials.values() if _mcnemar(trial, best) >= _ALPHA]
    chosen = max(near, key=lambda trial: trial.likelihood.mean())
    pixels = trials[chosen.hypothesis._replace(range=_AS_PIXELS)]
    # The grid of an 8-bit input often is the normalisation: pixels as they are then say the same, only plainer.
    return pixels if chosen.hypothesis.range in same_as_pixels else chosen


def _evidence(
    trials: Mapping[Hypothesis, _Trial], chosen: _Trial, same_as_pixels: frozenset[str], seed: int
) -> list[Evidence]:
    """Compare everything that differs from the chosen contract in one answer with it."""
    others = [
        (field, trial)
        for field in Hypothesis._fields
        for trial in trials.values()
        if [f for f in Hypothesis._fields if getattr(trial.hypothesis, f) != getattr(chosen.hypothesis, f)] == [field]
    ]
    raw = [p for _, trial in others for p in (_mcnemar(trial, chosen), _permutation(trial, chosen, seed))]
    adjusted = holm(raw)
    rows = []
    for field in Hypothesis._fields:
        rows.append(_row(field, chosen, 1.0, "chosen"))
        for index, (question, trial) in enumerate(others):
            if question == field:
                p_value = min(adjusted[2 * index : 2 * index + 2])
                same = field == "range" and {trial.hypothesis.range, chosen.hypothesis.range} <= same_as_pixels
                rows.append(_row(field, trial, p_value, _EQUAL if same else _verdict(trial, chosen, p_value)))
    return rows


def _row(field: str, trial: _Trial, p_value: float, verdict: str) -> Evidence:
    return Evidence(
        question=field,
        answer=str(getattr(trial.hypothesis, field)),
        accuracy=wilson(int(trial.right.sum()), len(trial.right)),
        log_likelihood=float(trial.likelihood.mean()),
        p_value=p_value,
        verdict=verdict,
    )


def _verdict(trial: _Trial, chosen: _Trial, p_value: float) -> str:
    if p_value >= _ALPHA:
        return "not distinguishable"
    return "worse" if trial.likelihood.mean() < chosen.likelihood.mean() else "better"


def _mcnemar(trial: _Trial, other: _Trial) -> float:
    return mcnemar_exact(int((trial.right & ~other.right).sum()), int((~trial.right & other.right).sum()))


def _permutation(trial: _Trial, other: _Trial, seed: int) -> float:
    """Test whether two hypotheses give the labels the same likelihood: signs of the paired differences are exchanged.

    Reference:
        Fisher 1935; Phipson & Smyth 2010 for the one added to both counts.
    """
    differences = trial.likelihood - other.likelihood
    rng, least, extreme = np.random.default_rng(seed), abs(differences.sum()) - 1e-12, 0
    step = max(1, _SIGNS_AT_ONCE // len(differences))
    for start in range(0, _RESAMPLES, step):
        drawn = rng.integers(0, 2, (min(step, _RESAMPLES - start), len(differences)), dtype=np.int8)
        extreme += int((np.abs((drawn * 2 - 1) @ differences) >= least).sum())
    return (extreme + 1) / (_RESAMPLES + 1)


def _above_chance(trial: _Trial, classes: int, hypotheses: int) -> bool:
    """Tell whether so many hits come by guessing, in any of the hypotheses, less often than once in a hundred."""
    n = len(trial.right)
    hits = np.arange(int(trial.right.sum()), n + 1)
    logs = log_choose(n)[hits] - hits * math.log(classes) + (n - hits) * math.log1p(-1 / classes)
    return float(np.exp(logs).sum()) * hypotheses < _CHANCE_ALPHA


def _manifest(engine: Engine, chosen: Hypothesis, kind: str, preset: str, classes: int | None) -> Manifest:
    given = engine.spec.classes
    return Manifest(
        preset=preset,
        layout=engine.spec.layout,
        colour=chosen.colour,
        range=chosen.range,
        # Where the file itself says that its scores have 256 levels, their looks cannot say more.
        kind="uint8-scores" if engine.spec.output_kind == "uint8-scores" else kind,
        offset=chosen.offset,
        classes=min(classes or given, given - chosen.offset),
    )
