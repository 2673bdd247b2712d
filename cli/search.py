"""`--keep-float auto`: labelled images, clean or attacked, decide which layers stay in float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnx import ModelProto

from .. import assets
from ..core.errors import InputError, ThresholdError
from ..core.provenance import available_cores
from ..core.recipe import layer_count
from ..evaluate.attacks.catalog import parse_attack
from ..evaluate.attacks.gradient import TransferTask
from ..evaluate.conditions import CLEAN
from ..evaluate.questions import Questions, questions_under
from ..evaluate.sensitivity import KeepFloat, keep_float
from ..evaluate.twin.twin import Twin
from ..export.signature import classifier_signature
from ..inputs.dataset import Dataset, check_labels
from ..inputs.loader import load_images
from ..inputs.pipeline import Pipeline
from ..inputs.sources import open_dataset
from .calibration import CalibrationImages
from .grids import Make
from .progress import Progress
from .request import FloatSearch

_POINTS = 100


@dataclass(frozen=True, kw_only=True)
class SearchContext:
    """What a search runs with.

    Attributes:
        pipeline: The model's preprocessing.
        seed: Seed of the draw, the attacks and the bootstrap.
        threads: Threads of the engines.
        progress: Shows how far it is.
    """

    pipeline: Pipeline
    seed: int
    threads: int | None
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Which layers stay in float and why.

    Attributes:
        nodes: Their names, in the graph's order.
        facts: What the card says of the search, as JSON data.
        notes: What the user should know.
    """

    nodes: Sequence[str] = ()
    facts: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def find_layers(
    search: FloatSearch,
    model: ModelProto,
    make: Make,
    context: SearchContext,
    calibration: CalibrationImages | None,
) -> Kept:
    """Find the layers that have to stay in float.

    Args:
        search: What is to be achieved.
        model: The float model, the reference.
        make: Gives the quantized model for a set of float layers.
        context: What the search runs with.
        calibration: The calibration images, which are left out of the search.

    Raises:
        InputError: If the images or attacks cannot be used, or the images are too few to show the bound.
        ThresholdError: If even all layers in float drop more than allowed.
    """
    questions = _questions(search, model, context, calibration)
    found = keep_float(
        model,
        lambda kept: make(kept).native,
        questions,
        max_drop=search.max_drop,
        progress=context.progress.stage,
    )
    facts = {
        **found.to_json(),
        "max_drop": search.max_drop,
        "attacks": list(search.attacks),
        "n": len(questions.labels),
        "seed": context.seed,
    }
    if not found.met:
        raise ThresholdError(
            f"Even with every layer in float a drop of {search.max_drop * _POINTS:g} points cannot be ruled out: it "
            f"may be {-found.steps[-1].low * _POINTS:.1f}. Nothing was written. Allow more, or pass more images."
        )
    return Kept(nodes=found.nodes, facts=facts, notes=(_note(found, len(questions.labels)),))


def _questions(
    search: FloatSearch, model: ModelProto, context: SearchContext, calibration: CalibrationImages | None
) -> Questions:
    dataset = _dataset(search, calibration, context.seed)
    check_labels(dataset.samples, classifier_signature(model).classes)
    loaded = load_images(dataset, context.pipeline, threads=available_cores())
    if not len(loaded.images):
        raise InputError(f"No image decodes; the first: {loaded.failures[0].reason}")
    if not search.attacks:
        clean = {CLEAN.label: loaded.images}
        return Questions(
            versions=clean,
            labels=loaded.labels,
            pipeline=context.pipeline,
            seed=context.seed,
            threads=context.threads,
        )
    context.progress.stage(f"Attacking {len(loaded.labels)} images with {', '.join(search.attacks)}")
    source = Twin.open(search.surrogate or model, context.pipeline, threads=context.threads)
    task = TransferTask(
        images=loaded.images, labels=loaded.labels, hashes=loaded.hashes, source=source, seed=context.seed
    )
    attacks = [parse_attack(spec) for spec in search.attacks]
    return replace(questions_under(task, attacks, pipeline=context.pipeline), threads=context.threads)


def _dataset(search: FloatSearch, calibration: CalibrationImages | None, seed: int) -> Dataset:
    """Open the labelled images, without those that were calibrated with."""
    found = open_dataset(search.data or assets.images_dir("eval"), labels=search.labels)
    used = set() if calibration is None else {sample.sha256 for sample in calibration.dataset.samples}
    kept = replace(found, samples=tuple(sample for sample in found.samples if sample.sha256 not in used))
    if not len(kept):
        raise InputError("Every image of --data was calibrated with. Pass others, or a smaller --calib-size.")
    return kept.subset(min(search.images or len(kept), len(kept)), seed)


def _note(found: KeepFloat, count: int) -> str:
    last = next(step for step in reversed(found.steps) if set(step.kept) == set(found.nodes))
    names = ", ".join(found.nodes[:3]) + (", ..." if len(found.nodes) > 3 else "")
    return (
        f"{layer_count(len(found.nodes))} in float{f' ({names})' if names else ''}: {last.value:.1%} right against "
        f"{found.reference:.1%} in float on {count} images, which judged {len(found.steps)} models; state the accuracy "
        "on others"
    )
