"""What a latency measurement found, as timings, JSON and records; nothing is measured here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..core.record import Record
from ..core.statistics import Interval, wilson
from .energy import Energy
from .rates import record
from .stopwatch import Budget

Scenario = Literal["single-stream", "offline"]
Scope = Literal["engine", "end-to-end"]

UNSTABLE_ABOVE = 0.05


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The speed of one target in one scenario and scope.

    Attributes:
        engine: Name of the target.
        scenario: ``single-stream`` or ``offline``.
        scope: ``engine`` or ``end-to-end``.
        batch: Images in one call of the engine; where it failed, in the call that did.
        unit: ``ms`` or ``images/s``.
        statistics: ``p50``, ``p90``, ``p99`` in ms, or ``throughput`` in images/s, each with interval and n; empty
            where the engine failed.
        rounds: Per round the median in ms, or the images/s.
        spread: (max - min) / median of ``rounds``; NaN where there is none.
        speedup: How many times faster than the first target, over rounds; None for the first target itself, and where
            one of the two failed.
        definition: What is inside the clock.
        reason: ``failed: `` and why there are no figures; empty where there are.
    """

    engine: str
    scenario: Scenario
    scope: Scope
    batch: int
    unit: str
    statistics: Mapping[str, Interval]
    rounds: tuple[float, ...]
    spread: float
    speedup: Interval | None
    definition: str
    reason: str = ""

    @property
    def verdict(self) -> Literal["stable", "unstable", "failed"]:
        """Whether the rounds agree, or the engine failed."""
        if self.reason:
            return "failed"
        return "stable" if self.stable else "unstable"

    @property
    def stable(self) -> bool:
        """True if the rounds lie within 5 % of each other."""
        return self.spread <= UNSTABLE_ABOVE

    @property
    def condition(self) -> str:
        """Scenario and scope as records spell them, e.g. ``latency:offline:engine``."""
        return f"latency:{self.scenario}:{self.scope}"

    def to_json(self) -> dict[str, Any]:
        """Give the timing as JSON data; a bound that is not finite becomes null."""
        return {
            "engine": self.engine,
            "scenario": self.scenario,
            "scope": self.scope,
            "batch": self.batch,
            "unit": self.unit,
            "statistics": {name: _interval_json(interval) for name, interval in self.statistics.items()},
            "rounds": list(self.rounds),
            "spread": self.spread if math.isfinite(self.spread) else None,
            "verdict": self.verdict,
            "reason": self.reason,
            "speedup": None if self.speedup is None else _interval_json(self.speedup),
            "definition": self.definition,
        }


@dataclass(frozen=True, kw_only=True)
class LatencyReport:
    """All timings of some targets that were measured side by side.

    Attributes:
        timings: One per target, scenario and scope.
        identities: Target name to what its engine and pipeline are, as JSON data.
        budget: How long was measured.
        seed: Seed of the bootstrap.
        energies: One per target and source of counters; empty where none was asked for.
    """

    timings: tuple[Timing, ...]
    identities: Mapping[str, Mapping[str, Any]]
    budget: Budget
    seed: int
    energies: tuple[Energy, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the report as JSON data."""
        return {
            "timings": [timing.to_json() for timing in self.timings],
            "energy": [energy.to_json() for energy in self.energies],
            "identities": {name: dict(identity) for name, identity in self.identities.items()},
            "budget": self.budget.to_json(),
            "seed": self.seed,
        }

    def records(self) -> list[Record]:
        """Give one record per statistic and speed-up, flagged ``unstable`` where the timing is, and one per energy.

        A scenario in which an engine failed is one record of n 0, the reason a flag.
        """
        spent = [energy.record(seed=self.seed, identity=self.identities[energy.engine]) for energy in self.energies]
        return [*(row for timing in self.timings for row in self._records(timing)), *spent]

    def _records(self, timing: Timing) -> list[Record]:
        rows = [(name, interval, timing.unit) for name, interval in timing.statistics.items()]
        if timing.speedup is not None:
            rows.append(("speedup", timing.speedup, "times"))
        details = {"batch": timing.batch, "definition": timing.definition}
        identity = {**self.identities[timing.engine], **details}
        if timing.reason:
            metric, flags = "p50" if timing.scenario == "single-stream" else "throughput", (timing.reason,)
            return [
                record(
                    timing.engine,
                    timing.condition,
                    metric,
                    wilson(0, 0),
                    self.seed,
                    flags=flags,
                    identity=identity,
                    unit=timing.unit,
                )
            ]
        return [
            Record(
                engine=timing.engine,
                condition=timing.condition,
                metric=metric,
                value=interval.value,
                low=interval.low,
                high=interval.high,
                n=interval.n,
                seed=self.seed,
                unit=unit,
                flags=() if timing.stable else ("unstable",),
                identity={**identity, "spread_over_rounds": timing.spread},
            )
            for metric, interval, unit in rows
        ]


def _interval_json(interval: Interval) -> dict[str, Any]:
    bounds = {"low": interval.low, "high": interval.high}
    finite = {name: bound if math.isfinite(bound) else None for name, bound in bounds.items()}
    return {"value": interval.value, **finite, "n": interval.n}
