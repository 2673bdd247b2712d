"""The attacks that ask the engine itself, by name; the transfer attacks join them in `catalog.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from .adba import adba
from .aim import GOALS
from .hopskipjump import hopskipjump
from .linear import linear
from .nes import nes
from .noise import noise
from .prgf import prgf
from .protocol import QueryAttack
from .rays import rays
from .reach import Reach
from .signhunter import signhunter
from .square import SquareLinf
from .square_l2 import square_l2
from .surfree import surfree
from .walk import Scene, Search, SearchAttack

Settings = Mapping[str, int]
Needs = Literal["scores", "labels"]

# Transfer attacks whose images a query attack can start from; the first word is the default of a setting.
STARTS = ("none", "mifgsm", "difgsm", "bsr")
_STARTED = {"start": STARTS}
# An attack that reads labels alone sees no way to one certain class.
_AIMED = {**_STARTED, "goal": GOALS}


@dataclass(frozen=True, kw_only=True)
class QueryEntry:
    """An attack that asks the engine itself.

    Attributes:
        about: One line for `list`.
        defaults: Its settings with the values they have when a spec does not name them.
        make: Gives the attack for complete settings.
        words: Settings that take one of some words, the first of which is the default.
        needs: ``"scores"`` for an attack that is blind where the attacker sees the label alone.
        norm: In what eps is measured, in grey levels: ``"linf"`` or ``"l2"``.
    """

    about: str
    defaults: Settings
    make: Callable[[Settings], QueryAttack]
    words: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _AIMED)
    needs: Needs = "scores"
    norm: Reach = "linf"


def _searching(name: str, search: Callable[[Scene], Search], norm: Reach = "linf") -> Callable[[Settings], QueryAttack]:
    return lambda s: SearchAttack(name=name, search=search, eps=s["eps"], budget=s["queries"], norm=norm)


_USUAL: Settings = {"eps": 8, "queries": 1000}

QUERY_ATTACKS: Mapping[str, QueryEntry] = {
    "square": QueryEntry(
        about="random search with squares, scores only (Andriushchenko et al. 2020)",
        defaults=_USUAL,
        make=lambda s: SquareLinf(eps=s["eps"], budget=s["queries"]),
    ),
    "square_l2": QueryEntry(
        about="Square in L2; eps in grey levels: 0.5 and 5 in [0, 1] are 127 and 1275",
        defaults={"eps": 127, "queries": 1000},
        make=_searching("square_l2", square_l2, "l2"),
        words={"goal": GOALS},
        norm="l2",
    ),
    "linear": QueryEntry(
        about="averages the rounding away: a linear fit of the margin to all answers",
        defaults=_USUAL,
        make=_searching("linear", linear),
    ),
    "signhunter": QueryEntry(
        about="turns signs block by block, coarse to fine (Al-Dujaili & O'Reilly 2020)",
        defaults=_USUAL,
        make=_searching("signhunter", signhunter),
    ),
    "rays": QueryEntry(
        about="search over directions of signs, label only (Chen & Gu 2020)",
        defaults=_USUAL,
        make=_searching("rays", rays),
        words=_STARTED,
        needs="labels",
    ),
    "adba": QueryEntry(
        about="compares two directions of signs at a time, label only (Wang et al. 2025)",
        defaults=_USUAL,
        make=_searching("adba", adba),
        words=_STARTED,
        needs="labels",
    ),
    "surfree": QueryEntry(
        about="goes round the image on circles, L2, label only (Maho et al. 2021)",
        defaults={"eps": 127, "queries": 1000},
        make=_searching("surfree", surfree, "l2"),
        words={},
        needs="labels",
        norm="l2",
    ),
    "hopskipjump": QueryEntry(
        about="walks along the boundary, label only, an anchor (Chen et al. 2020)",
        defaults=_USUAL,
        make=_searching("hopskipjump", hopskipjump),
        words=_STARTED,
        needs="labels",
    ),
    "prgf": QueryEntry(
        about="random probes that lean on the start's direction, if it is good (Cheng et al. 2019)",
        defaults=_USUAL,
        make=_searching("prgf", prgf),
    ),
    "nes": QueryEntry(
        about="gradient from pairs of random probes, an anchor (Ilyas et al. 2018)",
        defaults=_USUAL,
        make=_searching("nes", nes),
    ),
    "noise": QueryEntry(
        about="random signs, label only: the baseline that every attack has to beat",
        defaults={"eps": 8, "queries": 10},
        make=_searching("noise", noise),
        words={},
        needs="labels",
    ),
}
