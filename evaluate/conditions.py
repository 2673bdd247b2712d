"""What can be done to an input, as a name a person can write: ``gaussian_noise:3``, ``square:eps=8,queries=1000``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["clean", "corruption", "preset", "attack", "route"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One column of the results: what is done to every image before the engine sees it.

    Attributes:
        kind: Family of the condition.
        name: Entry of that family's catalog, e.g. ``gaussian_noise`` or ``square``.
        settings: Complete settings of the entry, in catalog order; a corruption has ``severity``.
        words: Settings that are words and not at their defaults, e.g. ``("start", "mifgsm")``.
        unsupported: Why this cell can't be measured here; empty where it can.
        route: Way on which a clean or attacked image reaches the engine, such as ``jpeg:90``; of kind ``route`` only.
    """

    kind: Kind
    name: str
    settings: tuple[tuple[str, int], ...] = ()
    words: tuple[tuple[str, str], ...] = ()
    unsupported: str = ""
    route: str = ""

    @property
    def label(self) -> str:
        """The condition's name in every record."""
        if self.route:
            return f"{self.base.label} via {self.route}"
        if self.kind == "corruption":
            return f"{self.name}:{self['severity']}"
        if self.kind == "preset":
            return f"preset:{self.name}"
        listed = ",".join(f"{key}={value}" for key, value in (*self.settings, *self.words))
        return f"{self.name}:{listed}" if listed else self.name

    @property
    def base(self) -> Condition:
        """The condition whose images take the route; this one itself where there is no route."""
        if not self.route:
            return self
        return replace(self, kind="clean" if self.name == CLEAN.name else "attack", route="", unsupported="")

    def via(self, route: str, *, unsupported: str = "") -> Condition:
        """Give the condition that sends this one's images on a route, with the reason where it can't be taken here."""
        return replace(self, kind="route", route=route, unsupported=unsupported)

    def without(self, *settings: str) -> Condition:
        """Give the condition that leaves some settings open, the same for all that differ in nothing else."""
        return replace(self, settings=tuple(pair for pair in self.settings if pair[0] not in settings))

    def __getitem__(self, key: str) -> int:
        return dict(self.settings)[key]


CLEAN = Condition(kind="clean", name="clean")
