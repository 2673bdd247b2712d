"""What one answered image costs in energy, by the machine's own counters, in rounds apart from those that are timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..core.errors import RobustMQError
from ..core.record import Record
from ..core.statistics import Interval
from .energy_counters import Source
from .rates import FAILED
from .spread import over_rounds
from .stopwatch import Budget, Clock, Work

UNREADABLE = "unreadable"
ELSEWHERE = "it runs on a server, whose machine is not this one"
_METRIC, _CONDITION, _UNIT = "energy_per_image", "latency:offline:engine", "J/image"


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy of one target by one source of counters.

    Attributes:
        engine: Name of the target.
        source: ``RAPL`` or ``NVML``.
        counters: What was counted, e.g. ``package-0``.
        batch: Images in one call of the engine.
        per_image: Joules per image: median, lowest and highest round, n in images; None where nothing could be read.
        reason: Why not; empty where it could.
        definition: What the figure holds.
    """

    engine: str
    source: str
    counters: tuple[str, ...]
    batch: int
    per_image: Interval | None
    reason: str
    definition: str = (
        "whole devices, with all else that ran on them and with what they draw when idle; normalised tensor in memory "
        "-> scores in memory"
    )

    def to_json(self) -> dict[str, Any]:
        """Give the figure as JSON data."""
        return {**asdict(self), "counters": list(self.counters)}

    def record(self, *, seed: int, identity: Mapping[str, Any]) -> Record:
        """Give the figure as a record; without one NaN, flagged ``unreadable`` or by the failure of the engine."""
        found = self.per_image or Interval(value=math.nan, low=math.nan, high=math.nan, n=0)
        details = {"source": self.source, "batch": self.batch, "definition": self.definition, "reason": self.reason}
        return Record(
            engine=self.engine,
            condition=_CONDITION,
            metric=_METRIC,
            value=found.value,
            low=found.low,
            high=found.high,
            n=found.n,
            seed=seed,
            unit=_UNIT,
            flags=() if self.per_image else (self.reason if self.reason.startswith(FAILED) else UNREADABLE,),
            identity={**identity, **details},
        )


def measure_energy(
    works: Mapping[str, Work | str],
    sources: Sequence[Source],
    *,
    budget: Budget,
    clock: Clock = time.perf_counter_ns,
) -> list[Energy]:
    """Run engines in turns and read the counters around each turn.

    Args:
        works: Target name to its call, or why it has none: it runs elsewhere, or failed.
        sources: Counters of this machine; where none can be read, nothing is run.
        budget: Number of rounds; each work's ``seconds`` hold per round.
        clock: Nanoseconds from any origin.

    Returns:
        One figure per target and source; a work whose call raises a `RobustMQError` gets no more turns.
    """
    here = {name: work for name, work in works.items() if isinstance(work, Work)}
    readable = [source for source in sources if source.counters]
    try:
        rounds, broken = _rounds(here, readable, budget, clock)
    except _SilentCounterError as error:
        sources = [replace(source, reason=f"a counter stopped answering: {error}") for source in sources]
        rounds, broken = {}, {}
    works = {**works, **broken}
    return [_figure(name, works[name], source, rounds.get(name, []), readable) for name in works for source in sources]


class _SilentCounterError(Exception):
    """A counter that could be read at first cannot any more; that costs these figures and no others."""


def _rounds(
    works: Mapping[str, Work], readable: Sequence[Source], budget: Budget, clock: Clock
) -> tuple[dict[str, list[_Turn]], dict[str, str]]:
    """Give the turns of each work that went through all of them, and why the others did not."""
    rounds: dict[str, list[_Turn]] = {name: [] for name in works}
    broken: dict[str, str] = {}
    for turn in range(budget.rounds if readable else 0):
        for name in list(rounds) if turn % 2 == 0 else reversed(list(rounds)):
            try:
                rounds[name].append(_turn(works[name], readable, clock))
            except RobustMQError as error:
                broken[name] = f"{FAILED}{error}"
                del rounds[name]
    return rounds, broken


@dataclass(frozen=True, kw_only=True)
class _Turn:
    images: int
    joules: tuple[float, ...]  # by readable source


def _turn(work: Work, sources: Sequence[Source], clock: Clock) -> _Turn:
    work.call()  # refills the caches before the counters are read
    before = _read(sources)
    images = _run(work.call, round(work.seconds * 1e9), clock) * work.images
    after = _read(sources)
    joules = tuple(
        sum(counter.between(*readings) for counter, *readings in zip(source.counters, first, last, strict=True))
        for source, first, last in zip(sources, before, after, strict=True)
    )
    return _Turn(images=images, joules=joules)


def _run(call: Callable[[], object], limit: int, clock: Clock) -> int:
    """Call until the time is over; give the number of calls."""
    begin, calls = clock(), 0
    while not calls or clock() - begin < limit:
        call()
        calls += 1
    return calls


def _read(sources: Sequence[Source]) -> list[list[int]]:
    try:
        return [[counter.read() for counter in source.counters] for source in sources]
    except (OSError, ValueError) as error:
        raise _SilentCounterError(str(error)) from error


def _figure(name: str, work: Work | str, source: Source, turns: Sequence[_Turn], readable: Sequence[Source]) -> Energy:
    per_image = None
    if turns and source in readable:
        place = list(readable).index(source)
        rates = [turn.joules[place] / turn.images for turn in turns]
        per_image = over_rounds(rates, n=sum(turn.images for turn in turns))
    return Energy(
        engine=name,
        source=source.name,
        counters=tuple(counter.name for counter in source.counters),
        batch=work.images if isinstance(work, Work) else 0,
        per_image=per_image,
        reason=source.reason if isinstance(work, Work) else work,
    )
