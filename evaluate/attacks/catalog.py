"""The attacks by name, with their settings, and the reader of specs such as ``square:eps=8,queries=1000``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

from ...core.errors import InputError, unknown
from ..conditions import Condition
from .ball import Norm
from .bsr import bsr
from .climb import Ascent
from .difgsm import difgsm
from .fgsm import fgsm
from .gradient import TransferResult, TransferTask
from .learn import Craft, Lesson
from .mifgsm import mifgsm
from .nifgsm import nifgsm
from .patch import LARGEST_AREA, patch, patch_control
from .pgd import pgd
from .pgn import pgn
from .query_catalog import QUERY_ATTACKS, QueryEntry, Settings
from .tifgsm import tifgsm
from .universal import universal
from .vmifgsm import vmifgsm

# ``"patch"`` bounds no distance but the share of the image that may be replaced.
Bound = Norm | Literal["patch"]


@dataclass(frozen=True, kw_only=True)
class TransferEntry:
    """An attack made on a surrogate's gradients, shown to every engine.

    Attributes:
        about: One line for `list`.
        defaults: Its settings with the values they have when a spec does not name them.
        craft: Makes the adversarial images of a task for complete settings.
        norm: In what eps is measured, in whole grey levels: ``"linf"``, ``"l2"`` or ``"l1"``; ``"patch"`` has an area.
    """

    about: str
    defaults: Settings
    craft: Callable[[TransferTask, Settings], TransferResult]
    norm: Bound = "linf"


@dataclass(frozen=True, kw_only=True)
class LearnedEntry:
    """An attack learned once on a surrogate over images that are not attacked, then shown to every engine.

    Attributes:
        about: One line for `list`.
        defaults: Its settings with the values they have when a spec does not name them; ``images`` is the number of
            other images that it learns from.
        learn: Gives, for complete settings, what makes the adversarial images of any task.
        norm: ``"linf"``, or ``"patch"`` where an area in percent is the bound.
        control: The attack of the same bound that is always measured beside it; empty for none.
    """

    about: str
    defaults: Settings
    learn: Callable[[Lesson, Settings], Craft]
    norm: Bound = "linf"
    control: str = ""


def _iterated(about: str, attack: Callable[..., TransferResult], own: Settings = MappingProxyType({})) -> TransferEntry:
    """Give the entry of an attack of the form ``attack(task, ascent)`` that has settings of its ``own`` besides."""
    return TransferEntry(
        about=about,
        defaults={"eps": 8, "steps": 10, **own},
        craft=lambda task, s: attack(task, Ascent(eps=s["eps"], steps=s["steps"]), **{name: s[name] for name in own}),
    )


def _projected(about: str, *, norm: Norm, eps: int, steps: int) -> TransferEntry:
    return TransferEntry(
        about=about,
        defaults={"eps": eps, "steps": steps},
        craft=lambda task, s: pgd(task, eps=s["eps"], steps=s["steps"], norm=norm),
        norm=norm,
    )


ATTACKS: Mapping[str, QueryEntry | TransferEntry | LearnedEntry] = {
    **QUERY_ATTACKS,
    "fgsm": TransferEntry(
        about="one signed gradient step on the surrogate (Goodfellow et al. 2015)",
        defaults={"eps": 8},
        craft=lambda task, s: fgsm(task, eps=s["eps"]),
    ),
    "pgd": _projected("iterated signed steps from a random start (Madry et al. 2018)", norm="linf", eps=8, steps=10),
    "mifgsm": _iterated("iterated steps with momentum (Dong et al. 2018)", mifgsm),
    "pgd_l2": _projected(
        "PGD in L2; eps in grey levels: 0.5, 2, 8 of RobustMQ are 127, 510, 2040", norm="l2", eps=510, steps=20
    ),
    "pgd_l1": _projected(
        "PGD in L1; eps in grey levels: 100, 400, 1600 of RobustMQ are 25500, 102000, 408000",
        norm="l1",
        eps=102_000,
        steps=20,
    ),
    "nifgsm": _iterated("momentum that looks ahead (Lin et al. 2020)", nifgsm),
    "sinifgsm": _iterated("looks ahead, on copies of halved brightness (Lin et al. 2020)", nifgsm, {"copies": 5}),
    "difgsm": _iterated("momentum through random resizing and padding (Xie et al. 2019)", difgsm),
    "tifgsm": _iterated("momentum of smoothed gradients (Dong et al. 2019)", tifgsm, {"kernel": 7}),
    "ditifgsm": _iterated("MI, DI and TI together", partial(tifgsm, diversity=True), {"kernel": 7}),
    "vmifgsm": _iterated("momentum corrected by the gradient's variance (Wang & He 2021)", vmifgsm, {"copies": 20}),
    "bsr": _iterated("blocks shuffled and rotated, a strong one (Wang et al. 2024)", bsr, {"copies": 10}),
    "pgn": _iterated("seeks places of small gradients, 2 gradients per copy (Ge et al. 2023)", pgn, {"copies": 20}),
    "universal": LearnedEntry(
        about="one perturbation for all images, learned on other images of the data (Shafahi et al. 2020)",
        defaults={"eps": 8, "steps": 100, "images": 256},
        learn=lambda lesson, s: universal(lesson, eps=s["eps"], steps=s["steps"]),
    ),
    "patch": LearnedEntry(
        about="one square anywhere, turned, learned on other images; area=0.05 of the image (Brown et al. 2017)",
        defaults={"area": 5, "steps": 100, "images": 256},
        learn=lambda lesson, s: patch(lesson, area=s["area"], steps=s["steps"]),
        norm="patch",
        control="patch_control",
    ),
    "patch_control": TransferEntry(
        about="a square of noise at the same places: what covering does, the baseline of every patch",
        defaults={"area": 5},
        craft=lambda task, s: patch_control(task, area=s["area"]),
        norm="patch",
    ),
}


def parse_attack(spec: str) -> Condition:
    """Read an attack with its settings.

    Args:
        spec: A name, or a name with settings: ``square:eps=8,queries=1000,start=mifgsm``; eps counts grey levels, area
            percent.

    Raises:
        InputError: If there is no such attack or setting, a value is no whole number above zero, or no known word.
    """
    name, _, listed = spec.partition(":")
    if name not in ATTACKS:
        raise unknown("attack", name, ATTACKS)
    entry = ATTACKS[name]
    choices = entry.words if isinstance(entry, QueryEntry) else {}
    settings, words = dict(entry.defaults), dict[str, str]()
    for pair in filter(None, listed.split(",")):
        key, _, text = pair.partition("=")
        if key in choices:
            words[key] = _word(key, text, choices[key])
        elif key in settings:
            settings[key] = _whole(key, text)
        else:
            raise unknown(f"setting of attack '{name}':", key, [*settings, *choices])
    if entry.norm == "linf" and settings["eps"] > 255:
        raise InputError(f"Expected `eps` in 1..255 grey levels, got {settings['eps']}.")
    if entry.norm == "patch" and settings["area"] > LARGEST_AREA:
        raise InputError(f"Expected `area` in 1..{LARGEST_AREA} percent of the image, got {settings['area']}.")
    named = tuple((key, words[key]) for key, (usual, *_) in choices.items() if words.get(key, usual) != usual)
    return Condition(kind="attack", name=name, settings=tuple(settings.items()), words=named)


def transfer_entry(condition: Condition) -> TransferEntry:
    """Give the entry of an attack that makes its images on a model's gradients alone.

    Raises:
        InputError: If the attack is another kind.
    """
    entry = ATTACKS.get(condition.name) if condition.kind == "attack" else None
    if isinstance(entry, TransferEntry):
        return entry
    known = ", ".join(sorted(name for name, other in ATTACKS.items() if isinstance(other, TransferEntry)))
    raise InputError(
        f"Expected a transfer attack, got '{condition.name}'; others ask the engine or learn first. Known: {known}."
    )


def is_transfer(condition: Condition) -> bool:
    """Tell whether a condition is an attack made on another model alone, so that every engine is shown the same."""
    return condition.kind == "attack" and isinstance(ATTACKS.get(condition.name), TransferEntry | LearnedEntry)


def is_learned(condition: Condition) -> bool:
    """Tell whether a condition is an attack learned on images that are not attacked."""
    return condition.kind == "attack" and isinstance(ATTACKS.get(condition.name), LearnedEntry)


def controls(conditions: Sequence[Condition]) -> list[Condition]:
    """Give the controls of the attacks that have one, each with its attack's bound and on its route."""
    found = []
    for condition in conditions:
        entry = ATTACKS.get(condition.name) if condition.base.kind == "attack" else None
        if isinstance(entry, LearnedEntry) and entry.control and not condition.unsupported:
            bound = bound_name(condition)
            control = parse_attack(f"{entry.control}:{bound}={condition[bound]}")
            found.append(control.via(condition.route) if condition.route else control)
    return found


def norm_of(condition: Condition) -> Bound:
    """Give the norm that an attack's eps is measured in; ``"patch"`` where it has an area instead."""
    return ATTACKS[condition.name].norm


def bound_name(condition: Condition) -> str:
    """Name the setting that bounds an attack: ``eps``, or the ``area`` of a patch."""
    return "area" if norm_of(condition) == "patch" else "eps"


def strength(condition: Condition) -> str:
    """Write what an attacker may do and wants: ``eps=8`` in L-inf, ``norm=l2,eps=510``, ``eps=8,inject=source``."""
    norm, name = norm_of(condition), bound_name(condition)
    size = f"{name}={condition[name]}"
    bound = size if norm == "linf" else f"norm={norm},{size}"
    elsewhere = [f"{key}={word}" for key, word in condition.words if key in ("goal", "inject")]
    return ",".join([bound, *elsewhere])


def is_targeted(condition: Condition) -> bool:
    """Tell whether an attack wants one certain class, drawn for each image, and not just any wrong one."""
    return ("goal", "targeted") in condition.words


def start_of(condition: Condition) -> Condition | None:
    """Give the transfer attack, of the same eps, whose images a query attack starts from; None where it has none."""
    if condition.kind != "attack" or is_transfer(condition) or "start" not in dict(condition.words):
        return None
    return parse_attack(f"{dict(condition.words)['start']}:eps={condition['eps']}")


def needs_surrogate(condition: Condition) -> bool:
    """Tell whether a condition takes gradients from another model than the target."""
    return is_transfer(condition) or start_of(condition) is not None


def access_used(condition: Condition, offered: str) -> str:
    """Say what an attack uses of the scores it is offered: all, ``"label"``, or ``"none"`` if it asks nothing."""
    entry = ATTACKS.get(condition.name)
    if isinstance(entry, QueryEntry):
        return offered if entry.needs == "scores" else "label"
    return "none"


def blind_reason(condition: Condition, access: str) -> str:
    """Say why an attack can't run on what the attacker sees, empty where it can."""
    entry = ATTACKS.get(condition.name) if condition.kind == "attack" else None
    if isinstance(entry, QueryEntry) and entry.needs == "scores" and access == "label":
        return f"'{condition.name}' needs scores and the attacker sees labels alone: use rays, or another label attack"
    return ""


def _word(key: str, text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise unknown(f"value of `{key}`", text, choices)
    return text


def _whole(key: str, text: str) -> int:
    numerator, slash, denominator = text.partition("/")
    if key == "eps" and slash and denominator == "255":  # 8/255 is how papers write eight grey levels
        text = numerator
    if key == "area" and (share := re.fullmatch(r"0?\.(\d\d?)", text)):  # 0.05 is five percent
        text = share[1].ljust(2, "0")
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise InputError(f"Expected `{key}` as a whole number above 0, got {text!r}. eps counts grey levels: eps=8.")
    return number
