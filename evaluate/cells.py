"""How one cell of the grid is measured: which images an engine is shown, and how an attack on it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RobustMQError
from ..core.provenance import available_cores
from ..core.randomness import image_stream
from ..core.store import ImageRow
from ..inputs.catalog import PRESETS
from ..inputs.dataset import check_labels
from ..inputs.loader import load_images
from .attacks.aim import drawn_target
from .attacks.catalog import ATTACKS, LearnedEntry, TransferEntry, is_targeted, start_of
from .attacks.gradient import TransferTask
from .attacks.learn import Craft, Lesson
from .attacks.protocol import BUDGET_SPENT, CLEAN_WRONG, FOOLED, AttackResult, AttackState, Goal
from .attacks.query_catalog import QueryEntry
from .chunk import Chunk, LoadedChunk
from .conditions import Condition
from .corruptions.catalog import corrupt_with, corruption_task
from .corruptions.parameters import default_parameters
from .corruptions.storage import stored
from .injection import Injected, Injection, Way, injection_of
from .oracle import NON_FINITE, Oracle
from .plan import Run
from .scheduler import run_attacks
from .target import Target, answer

Images = NDArray[np.uint8]
_ENDINGS = frozenset({FOOLED, CLEAN_WRONG, BUDGET_SPENT, NON_FINITE})


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What every engine is shown under a condition that does not depend on the engine.

    Attributes:
        images: (N, H, W, 3) uint8 at model size.
        zero_gradient: (N,) share of zero entries in the gradients that made each; None where none did.
    """

    images: Images
    zero_gradient: NDArray[np.float64] | None = None


def shown_images(run: Run, condition: Condition, chunk: Chunk, loaded: LoadedChunk) -> Shown:
    """Make the images of a condition that is the same for all engines.

    Raises:
        InputError: If a preset cannot prepare an image that the engines' own preprocessing can.
    """
    match condition.kind:
        case "clean":
            return Shown(images=loaded.images)
        case "corruption":
            return Shown(images=_corrupted(run, condition, loaded))
        case "preset":
            served = chunk.load(run.targets[0].pipeline.with_geometry_of(PRESETS[condition.name]))
            if reasons := [row.reason for row in served.invalid if row.name in loaded.names]:
                raise InputError(f"This preset cannot prepare {len(reasons)} of the images; the first: {reasons[0]}")
            return Shown(images=served.images[np.isin(served.names, loaded.names)])
        case "attack":
            return _transferred(run, condition, loaded)
        case "route":
            return shown_images(run, condition.base, chunk, loaded)


def _corrupted(run: Run, condition: Condition, loaded: LoadedChunk) -> Images:
    name, severity = condition.name, condition["severity"]
    parameters = default_parameters(*loaded.images.shape[1:3])
    task = corruption_task(name, severity, parameters)
    frost_dir, storage = run.plan.frost_dir, run.plan.storage
    images = [
        stored(
            corrupt_with(
                image, name, severity, image_stream(run.plan.seed, task, sha256), parameters, frost_dir=frost_dir
            ),
            storage,
        )
        for image, sha256 in zip(loaded.images, loaded.hashes, strict=True)
    ]
    return np.stack(images) if images else loaded.images


def _transferred(run: Run, condition: Condition, loaded: LoadedChunk) -> Shown:
    assert run.surrogate is not None
    assert run.surrogate.source is not None
    task = TransferTask(
        images=loaded.images,
        labels=loaded.labels,
        hashes=loaded.hashes,
        source=run.surrogate.source,
        seed=run.plan.seed,
    )
    made = _craft(run, condition)(task)
    return Shown(images=made.adversarials, zero_gradient=made.zero_gradient_shares)


def _craft(run: Run, condition: Condition) -> Craft:
    """Give what makes the images of an attack on the surrogate; what has to be learned for it is learned once."""
    entry = ATTACKS[condition.name]
    settings = dict(condition.settings)
    if isinstance(entry, TransferEntry):
        return lambda task: entry.craft(task, settings)
    assert isinstance(entry, LearnedEntry)
    if condition.label not in run.learned:
        run.learned[condition.label] = entry.learn(_lesson(run, condition), settings)
    return run.learned[condition.label]


def _lesson(run: Run, condition: Condition) -> Lesson:
    assert run.surrogate is not None
    assert run.surrogate.source is not None
    others = run.lesson(condition)
    check_labels(others.samples, run.target_classes)
    loaded = load_images(others, run.targets[0].pipeline, threads=available_cores())
    labels = np.array(loaded.labels, dtype=np.int64)
    return Lesson(images=loaded.images, labels=labels, source=run.surrogate.source, seed=run.plan.seed)


def attack_with_queries(
    run: Run, target: Target, condition: Condition, chunk: Chunk, loaded: LoadedChunk, clean: Sequence[ImageRow]
) -> tuple[list[ImageRow], Images]:
    """Attack the images that the engine gets right, and let the engine judge what came out.

    The delivered images are asked once more outside the attack; that answer, not the attack's word, is the row.

    Returns:
        One row per image of the chunk, and the (N, H, W, 3) uint8 images delivered, as the engine is shown them.
    """
    entry = ATTACKS[condition.name]
    assert isinstance(entry, QueryEntry)
    attack = entry.make(dict(condition.settings))
    right = {row.position for row in clean if row.correct}
    tried = [i for i, position in enumerate(loaded.positions) if int(position) in right]
    first = start_of(condition)
    starts = None if first is None else _transferred(run, first, loaded).images
    oracle = Oracle(
        target.engine,
        target.pipeline,
        batch=target.batch,
        budget=attack.budget,
        score_access="label" if entry.needs == "labels" else run.score_access(target),
        output_kind=target.engine.spec.output_kind,
        pad=target.pad,
    )
    injection = injection_of(condition)

    def begun(i: int) -> AttackState:
        state = attack.begin(
            loaded.images[i],
            _goal(run, condition, loaded, i),
            image_stream(run.plan.seed, attack.task, loaded.hashes[i]),
            None if starts is None else starts[i],
        )
        if injection == "model":
            return state
        stored = chunk.dataset.samples[int(loaded.positions[i]) - chunk.first].read()
        return Injected(state, Way(stored, target.pipeline, injection))

    results = run_attacks((begun(i) for i in tried), oracle)
    adversarials = loaded.images.copy()
    ended: dict[int, AttackResult] = {}
    for i, result in zip(tried, results, strict=True):
        if result.reason not in _ENDINGS:
            raise RobustMQError(result.reason)
        adversarials[i] = result.adversarial
        ended[int(loaded.positions[i])] = result
    rows = loaded.rows(answer(target, adversarials), images=adversarials)
    return [_ended(row, ended.get(row.position), injection) for row in rows], adversarials


def _ended(row: ImageRow, result: AttackResult | None, injection: Injection) -> ImageRow:
    """Say what an attack asked for; where it changed the stored picture, that is what the distance counts."""
    if result is None:
        return row
    return replace(row, queries=result.queries, linf=row.linf if injection == "model" else result.linf)


def _goal(run: Run, condition: Condition, loaded: LoadedChunk, i: int) -> Goal:
    label = int(loaded.labels[i])
    if not is_targeted(condition):
        return Goal(label)
    return Goal(label, drawn_target(run.plan.seed, loaded.hashes[i], label, run.target_classes))
