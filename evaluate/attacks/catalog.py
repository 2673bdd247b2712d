"""The attacks by name, with their settings, and the reader of specs such as ``square:eps=8,queries=1000``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...core.errors import InputError, unknown
from ..conditions import Condition
from .fgsm import fgsm
from .gradient import TransferResult, TransferTask
from .mifgsm import mifgsm
from .pgd import pgd
from .protocol import QueryAttack
from .square import SquareLinf

Settings = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class QueryEntry:
    """An attack that asks the engine itself.

    Attributes:
        about: One line for `list`.
        defaults: Its settings with the values they have when a spec does not name them.
        make: Gives the attack for complete settings.
    """

    about: str
    defaults: Settings
    make: Callable[[Settings], QueryAttack]


@dataclass(frozen=True, kw_only=True)
class TransferEntry:
    """An attack made on a surrogate's gradients, shown to every engine.

    Attributes:
        about: One line for `list`.
        defaults: Its settings with the values they have when a spec does not name them.
        craft: Makes the adversarial images of a task for complete settings.
    """

    about: str
    defaults: Settings
    craft: Callable[[TransferTask, Settings], TransferResult]


ATTACKS: Mapping[str, QueryEntry | TransferEntry] = {
    "square": QueryEntry(
        about="random search with squares, scores only (Andriushchenko et al. 2020)",
        defaults={"eps": 8, "queries": 1000},
        make=lambda s: SquareLinf(eps=s["eps"], budget=s["queries"]),
    ),
    "fgsm": TransferEntry(
        about="one signed gradient step on the surrogate (Goodfellow et al. 2015)",
        defaults={"eps": 8},
        craft=lambda task, s: fgsm(task, eps=s["eps"]),
    ),
    "pgd": TransferEntry(
        about="iterated signed steps from a random start (Madry et al. 2018)",
        defaults={"eps": 8, "steps": 10},
        craft=lambda task, s: pgd(task, eps=s["eps"], steps=s["steps"]),
    ),
    "mifgsm": TransferEntry(
        about="iterated steps with momentum, transfers best of these (Dong et al. 2018)",
        defaults={"eps": 8, "steps": 10},
        craft=lambda task, s: mifgsm(task, eps=s["eps"], steps=s["steps"]),
    ),
}


def parse_attack(spec: str) -> Condition:
    """Read an attack with its settings.

    Args:
        spec: A name, or a name with settings: ``square:eps=8,queries=1000``; eps counts grey levels.

    Raises:
        InputError: If there is no such attack or setting, or a value is no whole number above zero.
    """
    name, _, listed = spec.partition(":")
    if name not in ATTACKS:
        raise unknown("attack", name, ATTACKS)
    settings = dict(ATTACKS[name].defaults)
    for pair in filter(None, listed.split(",")):
        key, _, text = pair.partition("=")
        if key not in settings:
            raise unknown(f"setting of attack '{name}':", key, settings)
        settings[key] = _whole(key, text)
    if settings["eps"] > 255:
        raise InputError(f"Expected `eps` in 1..255 grey levels, got {settings['eps']}.")
    return Condition(kind="attack", name=name, settings=tuple(settings.items()))


def needs_surrogate(condition: Condition) -> bool:
    """Tell whether a condition is an attack made on another model than the target."""
    return condition.kind == "attack" and isinstance(ATTACKS.get(condition.name), TransferEntry)


def _whole(key: str, text: str) -> int:
    numerator, slash, denominator = text.partition("/")
    if key == "eps" and slash and denominator == "255":  # 8/255 is how papers write eight grey levels
        text = numerator
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise InputError(f"Expected `{key}` as a whole number above 0, got {text!r}. eps counts grey levels: eps=8.")
    return number
