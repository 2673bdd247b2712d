"""How fast engines are: MLPerf-like SingleStream and Offline, engine-only and end-to-end, in interleaved rounds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RobustMQError
from ..core.statistics import Interval
from .energy import ELSEWHERE, Energy, measure_energy
from .energy_counters import Source
from .rates import FAILED
from .spread import over_rounds, percentile, ratio_over_rounds, relative_spread
from .stopwatch import Budget, Clock, Nanoseconds, Rounds, Work, time_rounds
from .target import Target, infer
from .timing import LatencyReport, Scenario, Scope, Timing

Content = bytes | NDArray[np.uint8]

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
# The ready tensors of 64 images of 224 x 224 take 38 MB: more than the caches hold, little of the memory.
_MOST_IMAGES = 64
_UNITS: dict[Scenario, str] = {"single-stream": "ms", "offline": "images/s"}
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
    An engine of one fixed batch size gets its single image in a filled-up batch. One that fails is a timing without
    figures in that scenario and scope, and is asked again in the next.

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
    for pipeline in {target.pipeline.fingerprint: target.pipeline for target in targets}.values():
        for content in contents[:_MOST_IMAGES]:
            pipeline.load(content)  # from here on, whatever fails is the engine
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
    fastest = {timing.engine: timing for timing in timings if timing.scenario == "offline"}
    works = {target.name: _work(target, contents, fastest[target.name], budget) for target in targets}
    return measure_energy(works, sources, budget=budget, clock=clock) if sources else []


def _work(target: Target, contents: Sequence[Content], fastest: Timing, budget: Budget) -> Work | str:
    """Give what is to be metered, or why it cannot be: it runs on another machine, or failed."""
    if target.engine.provenance().get("kind") == "remote":
        return ELSEWHERE
    if fastest.reason:
        return fastest.reason
    call = _call(target, contents, fastest.batch, "engine")
    return Work(call=call, images=fastest.batch, seconds=budget.seconds / budget.rounds, min_calls=1)


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
    found = [
        _Found.failing(target.engine.spec.fixed_batch or 1, rounds)
        if isinstance(rounds, RobustMQError)
        else _percentiles(target, rounds)
        for target, rounds in zip(targets, time_rounds(works, budget, clock=clock), strict=True)
    ]
    definitions = [_definition(target, scope, "one image", budget) for target in targets]
    return _timings(targets, found, definitions, "single-stream", scope, seed)


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
    rounds = time_rounds(works, budget, clock=clock)
    found = [_fastest(target, owners, rounds) for target in targets]
    queries = [f"one batch, the fastest size of {list(_sizes(target, budget))}" for target in targets]
    definitions = [_definition(target, scope, query, budget) for target, query in zip(targets, queries, strict=True)]
    return _timings(targets, found, definitions, "offline", scope, seed)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one engine showed in one scenario and scope; where it failed, the reason and the batch size it failed at."""

    batch: int
    statistics: Mapping[str, Interval]
    rounds: Sequence[float]
    reason: str = ""

    @classmethod
    def failing(cls, batch: int, error: RobustMQError) -> _Found:
        return cls(batch=batch, statistics={}, rounds=(), reason=f"{FAILED}{error}")


def _timings(
    targets: Sequence[Target],
    found: Sequence[_Found],
    definitions: Sequence[str],
    scenario: Scenario,
    scope: Scope,
    seed: int,
) -> list[Timing]:
    return [
        Timing(
            engine=target.name,
            scenario=scenario,
            scope=scope,
            batch=own.batch,
            unit=_UNITS[scenario],
            statistics=own.statistics,
            rounds=tuple(own.rounds),
            spread=math.nan if own.reason else relative_spread(own.rounds),
            speedup=None if own is found[0] else _speedup(found[0], own, scenario, seed),
            definition=definition,
            reason=own.reason,
        )
        for target, own, definition in zip(targets, found, definitions, strict=True)
    ]


def _speedup(first: _Found, own: _Found, scenario: Scenario, seed: int) -> Interval | None:
    if first.reason or own.reason:
        return None
    slow, fast = (first, own) if scenario == "single-stream" else (own, first)
    return ratio_over_rounds(slow.rounds, fast.rounds, seed=seed)


def _percentiles(target: Target, rounds: Sequence[Nanoseconds]) -> _Found:
    every = np.concatenate(rounds) / 1e6
    return _Found(
        batch=target.engine.spec.fixed_batch or 1,
        statistics={name: percentile(every, share) for name, share in PERCENTILES.items()},
        rounds=[float(np.median(turn)) / 1e6 for turn in rounds],
    )


def _fastest(target: Target, owners: Sequence[tuple[Target, int]], found: Sequence[Rounds]) -> _Found:
    """Give the images/s at the batch size of the highest median rate; none where the engine failed at any size."""
    tried = []
    for (owner, size), rounds in zip(owners, found, strict=True):
        if owner is not target:
            continue
        if isinstance(rounds, RobustMQError):
            return _Found.failing(size, rounds)
        rates = [size * len(turn) / (float(turn.sum()) / 1e9) for turn in rounds]
        images = size * sum(len(turn) for turn in rounds)
        tried.append(_Found(batch=size, statistics={"throughput": over_rounds(rates, n=images)}, rounds=rates))
    return max(tried, key=lambda entry: float(np.median(entry.rounds)))


def _sizes(target: Target, budget: Budget) -> tuple[int, ...]:
    fixed = target.engine.spec.fixed_batch
    return (fixed,) if fixed else tuple(sorted(set(budget.batches)))


def _call(target: Target, contents: Sequence[Content], size: int, scope: Scope) -> Callable[[], object]:
    """Give the function inside the clock; each call answers the next ``size`` images."""
    supply = cycle(contents[:_MOST_IMAGES])
    count = max(1, min(len(contents), _MOST_IMAGES) // size)
    groups = [[next(supply) for _ in range(size)] for _ in range(count)]
    if scope == "engine":
        ready = cycle([_prepare(target, group) for group in groups])
        return lambda: infer(target, next(ready))
    waiting = cycle(groups)
    return lambda: infer(target, _prepare(target, next(waiting)))


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
