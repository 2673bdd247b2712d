"""One measured number with everything needed to trust it: n, interval, identity, flags and comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How a record's value compares with the reference engine on the same images.

    Attributes:
        reference: Name of the reference engine.
        difference: Value minus the reference's, in the record's unit.
        low: Lower 95 % bound of the difference (paired bootstrap).
        high: Upper 95 % bound of the difference.
        p_value: Of shares of images the exact McNemar test; of means the paired z-test, of statistics over conditions
            the paired bootstrap.
        p_holm: The same, adjusted by Holm over all comparisons of the run; it decides the verdict.
        wrong_to_right: Images only this engine gets right; of means, images whose value is better here.
        right_to_wrong: Images only the reference gets right; of means, images whose value is better there.
        detectable: Smallest true difference found at 80 % power.
        verdict: ``better`` or ``worse`` only if ``p_holm`` < 0.05.
    """

    reference: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    wrong_to_right: int
    right_to_wrong: int
    detectable: float
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measured number.

    Attributes:
        engine: Name of the target the number belongs to.
        condition: What was done to the input, e.g. ``clean``, ``gaussian_noise:3``, ``square:eps=8,queries=1000``.
        metric: What was measured, e.g. ``accuracy``.
        value: The number; NaN where nothing could be measured (the flags say why).
        low: Lower 95 % bound.
        high: Upper 95 % bound.
        n: Number of images behind it.
        seed: Seed of the run.
        unit: ``share``, ``images``, ``queries``, ``ms`` or ``images/s``.
        flags: Warnings that must be shown beside the number.
        identity: Hashes, versions and the attacker's access that the number depends on.
        comparison: The paired comparison with the reference engine, if there is one.
    """

    engine: str
    condition: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    seed: int
    unit: str = "share"
    flags: tuple[str, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)
    comparison: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the record as JSON data; a NaN becomes null."""
        document = asdict(self)
        document["flags"] = list(self.flags)
        for name in ("value", "low", "high"):
            if not math.isfinite(document[name]):
                document[name] = None
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Record:
        """Read back what `to_json` gave; a null becomes NaN."""
        numbers = {name: math.nan if document[name] is None else document[name] for name in ("value", "low", "high")}
        comparison = None if document["comparison"] is None else Comparison(**document["comparison"])
        return cls(**{**document, **numbers, "flags": tuple(document["flags"]), "comparison": comparison})
