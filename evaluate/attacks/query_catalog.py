"""The attacks that ask the engine itself, by name; the transfer attacks join them in `catalog.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
_STARTED: Mapping[str, tuple[str, ...]] = {"start": STARTS}
_AIMED = {"goal": GOALS}

# Where on the way into the engine the attacker changes the picture; see `evaluate/injection.py`.
INJECTIONS = ("model", "source", "jpeg")
_PLACED = {"inject": INJECTIONS}


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
    words: Mapping[str, tuple[str, ...]]
    needs: Needs = "scores"
    norm: Reach = "linf"


def _searching(
    name: str,
    search: Callable[[Scene], Search],
    about: str,
    *,
    eps: int = 8,
    norm: Reach = "linf",
    needs: Needs = "scores",
) -> QueryEntry:
    """Give the entry of a search: in L-inf it can start from transfer examples, and by scores it can aim at a class."""
    return QueryEntry(
        about=about,
        defaults={"eps": eps, "queries": 1000},
        make=lambda s: SearchAttack(name=name, search=search, eps=s["eps"], budget=s["queries"], norm=norm),
        words={**({**_STARTED, **_PLACED} if norm == "linf" else {}), **(_AIMED if needs == "scores" else {})},
        needs=needs,
        norm=norm,
    )


QUERY_ATTACKS: Mapping[str, QueryEntry] = {
    "square": QueryEntry(
        about="random search with squares, scores only (Andriushchenko et al. 2020)",
        defaults={"eps": 8, "queries": 1000},
        make=lambda s: SquareLinf(eps=s["eps"], budget=s["queries"]),
        words={**_STARTED, **_AIMED, **_PLACED},
    ),
    "square_l2": _searching(
        "square_l2",
        square_l2,
        "Square in L2; eps in grey levels: 0.5 and 5 in [0, 1] are 127 and 1275",
        eps=127,
        norm="l2",
    ),
    "linear": _searching("linear", linear, "averages the rounding away: a linear fit of the margin to all answers"),
    "signhunter": _searching(
        "signhunter", signhunter, "turns signs block by block, coarse to fine (Al-Dujaili & O'Reilly 2020)"
    ),
    "prgf": _searching(
        "prgf", prgf, "random probes that lean on the start's direction, if it is good (Cheng et al. 2019)"
    ),
    "nes": _searching("nes", nes, "gradient from pairs of random probes, an anchor (Ilyas et al. 2018)"),
    "rays": _searching("rays", rays, "search over directions of signs, label only (Chen & Gu 2020)", needs="labels"),
    "adba": _searching(
        "adba", adba, "compares two directions of signs at a time, label only (Wang et al. 2025)", needs="labels"
    ),
    "hopskipjump": _searching(
        "hopskipjump", hopskipjump, "walks along the boundary, label only, an anchor (Chen et al. 2020)", needs="labels"
    ),
    "surfree": _searching(
        "surfree",
        surfree,
        "goes round the image on circles, L2, label only (Maho et al. 2021)",
        eps=127,
        norm="l2",
        needs="labels",
    ),
    "noise": QueryEntry(
        about="random signs, label only: the baseline that every attack has to beat",
        defaults={"eps": 8, "queries": 10},
        make=lambda s: SearchAttack(name="noise", search=noise, eps=s["eps"], budget=s["queries"]),
        words=_PLACED,
        needs="labels",
    ),
}
