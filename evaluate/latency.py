"""How fast engines are: MLPerf-like SingleStream and Offline, engine-only and end-to-end, in interleaved rounds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .energy import Energy, measure_energy
from .energy_counters import Source
from .spread import over_rounds, percentile, ratio_over_rounds, relative_spread
from .stopwatch import Budget, Clock, Nanoseconds, Work, time_rounds
from .target import Target
from .timing import LatencyReport, Scope, Timing

Content = bytes | NDArray[np.uint8]

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
# The ready tensors of 64 images of 224 x 224 take 38 MB: more than the caches hold, little of the memory.
_MOST_IMAGES = 64
SCOPES: tuple[Scope, ...] = ("engine", "end-to-end")

_INSIDE: dict[Scope, str] = {
    "engine": "normalised tensor in memory -> scores in memory",
    "end-to-end": "image file's bytes in memory -> decode, resize, crop, normalise -> scores in memory",
}


def measure_latency(
    targets: Sequence[Target],
    contents: Sequence[Content],
    *,
    budget: Budget | None = None,
    scopes: Sequence[Scope] = SCOPES,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
    sources: Sequence[Source] = (),
) -> LatencyReport:
    """Measure targets side by side in one process.

    SingleStream answers one image after the other; Offline answers the images at each batch size and keeps the fastest.
    An engine of one fixed batch size gets its single image in a filled-up batch.

    Args:
        targets: Engines with their pipelines, differently named; the first is the reference of the speed-ups.
        contents: Image files' bytes (or decoded uint8 images), at least one; the first 64
            are cycled through.
        budget: How long to measure; None takes 10 s per target, scenario and scope.
        scopes: Which parts of the way are timed.
        seed: Seed of the bootstrap.
        clock: Nanoseconds from any origin.
        sources: Counters of energy; where one can be read, each target runs for ``budget.seconds`` more, at its fastest
            batch size.

    Raises:
        InputError: If there is no target or no image, two targets share a name, or an image does not decode.

    Reference:
        Reddi et al. 2020, MLPerf Inference Benchmark, arXiv 1911.02549, section 4. Departures: minutes of run time are
        replaced by ``budget``, and the interval says what that costs.
    """
    names = [target.name for target in targets]
    if not names or not contents or len(set(names)) < len(names):
        raise InputError(f"Expected differently named targets and at least one image, got {names}, {len(contents)}.")
    budget = budget or Budget()
    timings: list[Timing] = []
    for scope in scopes:
        timings += _single_stream(targets, contents, scope, budget, seed, clock)
        timings += _offline(targets, contents, scope, budget, seed, clock)
    return LatencyReport(
        timings=tuple(timings),
        identities={target.name: {**target.identity, "preset": target.pipeline.to_json()} for target in targets},
        budget=budget,
        seed=seed,
        energies=tuple(_energies(targets, contents, timings, budget, sources, clock)),
    )


def _energies(
    targets: Sequence[Target],
    contents: Sequence[Content],
    timings: Sequence[Timing],
    budget: Budget,
    sources: Sequence[Source],
    clock: Clock,
) -> list[Energy]:
    fastest = {timing.engine: timing.batch for timing in timings if timing.scenario == "offline"}
    works = {target.name: _work(target, contents, fastest[target.name], budget) for target in targets}
    return measure_energy(works, sources, budget=budget, clock=clock) if sources else []


def _work(target: Target, contents: Sequence[Content], size: int, budget: Budget) -> Work | None:
    """Give what is to be metered, or None where it runs on another machine."""
    if target.engine.provenance().get("kind") == "remote":
        return None
    call = _call(target, contents, size, "engine")
    return Work(call=call, images=size, seconds=budget.seconds / budget.rounds, min_calls=1)


def _single_stream(
    targets: Sequence[Target], contents: Sequence[Content], scope: Scope, budget: Budget, seed: int, clock: Clock
) -> list[Timing]:
    works = [
        Work(
            call=_call(target, contents, 1, scope),
            images=1,
            seconds=budget.seconds / budget.rounds,
            min_calls=math.ceil(budget.min_queries / budget.rounds),
        )
        for target in targets
    ]
    spans = time_rounds(works, budget, clock=clock)
    medians = [[float(np.median(turn)) / 1e6 for turn in turns] for turns in spans]
    timings = []
    for index, target in enumerate(targets):
        every = np.concatenate(spans[index]) / 1e6
        timings.append(
            Timing(
                engine=target.name,
                scenario="single-stream",
                scope=scope,
                batch=target.engine.spec.fixed_batch or 1,
                unit="ms",
                statistics={name: percentile(every, share) for name, share in PERCENTILES.items()},
                rounds=tuple(medians[index]),
                spread=relative_spread(medians[index]),
                speedup=ratio_over_rounds(medians[0], medians[index], seed=seed) if index else None,
                definition=_definition(target, scope, "one image", budget),
            )
        )
    return timings


def _offline(
    targets: Sequence[Target], contents: Sequence[Content], scope: Scope, budget: Budget, seed: int, clock: Clock
) -> list[Timing]:
    owners = [(target, size) for target in targets for size in _sizes(target, budget)]
    works = [
        Work(
            call=_call(target, contents, size, scope),
            images=size,
            seconds=budget.seconds / budget.rounds / len(_sizes(target, budget)),
            min_calls=budget.min_batches,
        )
        for target, size in owners
    ]
    spans = time_rounds(works, budget, clock=clock)
    best = [_fastest(target, owners, spans) for target in targets]
    timings = []
    for index, target in enumerate(targets):
        size, rates, images = best[index]
        timings.append(
            Timing(
                engine=target.name,
                scenario="offline",
                scope=scope,
                batch=size,
                unit="images/s",
                statistics={"throughput": over_rounds(rates, n=images)},
                rounds=tuple(rates),
                spread=relative_spread(rates),
                speedup=ratio_over_rounds(rates, best[0][1], seed=seed) if index else None,
                definition=_definition(
                    target, scope, f"one batch, the fastest size of {list(_sizes(target, budget))}", budget
                ),
            )
        )
    return timings


def _fastest(
    target: Target, owners: Sequence[tuple[Target, int]], spans: Sequence[Sequence[Nanoseconds]]
) -> tuple[int, list[float], int]:
    """Give the batch size of the highest median rate, its images/s per round, and the images timed at it."""
    found = []
    for (owner, size), turns in zip(owners, spans, strict=True):
        if owner is target:
            rates = [size * len(turn) / (float(turn.sum()) / 1e9) for turn in turns]
            found.append((size, rates, size * sum(len(turn) for turn in turns)))
    return max(found, key=lambda entry: float(np.median(entry[1])))


def _sizes(target: Target, budget: Budget) -> tuple[int, ...]:
    fixed = target.engine.spec.fixed_batch
    return (fixed,) if fixed else tuple(sorted(set(budget.batches)))


def _call(target: Target, contents: Sequence[Content], size: int, scope: Scope) -> Callable[[], object]:
    """Give the function inside the clock; each call answers the next ``size`` images."""
    infer = target.engine.infer
    supply = cycle(contents[:_MOST_IMAGES])
    count = max(1, min(len(contents), _MOST_IMAGES) // size)
    groups = [[next(supply) for _ in range(size)] for _ in range(count)]
    if scope == "engine":
        ready = cycle([_prepare(target, group) for group in groups])
        return lambda: infer(next(ready))
    waiting = cycle(groups)
    return lambda: infer(_prepare(target, next(waiting)))


def _prepare(target: Target, group: Sequence[Content]) -> NDArray[Any]:
    """Decode and normalise some images, repeated up to the engine's fixed batch size where it has one."""
    batch: NDArray[Any] = target.pipeline.tensor(np.stack([target.pipeline.load(content) for content in group]))
    fixed = target.engine.spec.fixed_batch
    return batch if fixed in (None, len(batch)) else np.resize(batch, (fixed, *batch.shape[1:]))


def _definition(target: Target, scope: Scope, query: str, budget: Budget) -> str:
    way = ", through a process of its own" if "isolated" in target.engine.provenance() else ""
    return (
        f"{_INSIDE[scope]}{way}; a query is {query}; garbage collector off; warm-up of >= {budget.warm_up_runs} images "
        f"and >= {budget.warm_up_seconds:g} s; {budget.rounds} rounds in turns with the other targets"
    )
