"""Named sets of conditions, as literal tables."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.errors import InputError, unknown
from ..inputs.catalog import PRESETS
from ..inputs.systematic_grid import ROBUSTMQ_GRID
from .attacks.catalog import parse_attack
from .conditions import CLEAN, Condition
from .corruptions.catalog import CORRUPTIONS, IMAGENET_C, IMAGENET_C_BAR

_SHIFTS = ("torchvision", "opencv-linear", "opencv-nearest", "opencv-area")
_STANDARD_SHIFTS = (*_SHIFTS, "tflite-mobilenet", "cifar10")
_ALL_SHIFTS = tuple(name for name in PRESETS if name not in ROBUSTMQ_GRID)
_EPS = (1, 2, 4, 8, 16)
_UNBOUNDED = 255  # an attack that fails here is broken

# RobustMQ (arXiv 2308.02350) asks for these; what this version can't do is kept, so that the table shows the gap.
_ROBUSTMQ_MISSING = {
    "pgd-linf:eps=0.5/255": "half a grey level does not exist on the uint8 grid of a deployed image",
    "fgsm:eps=0.5/255": "half a grey level does not exist on the uint8 grid of a deployed image",
    "mifgsm:eps=0.5/255": "half a grey level does not exist on the uint8 grid of a deployed image",
    "autoattack": "needs white-box gradients of the engine itself, which an integer engine does not have",
}
_QUICK_CORRUPTIONS = ("gaussian_noise", "motion_blur", "brightness", "jpeg")


def _corruptions(severities: Iterable[int], names: Iterable[str]) -> list[Condition]:
    severities = tuple(severities)
    return [
        Condition(kind="corruption", name=name, settings=(("severity", severity),))
        for name in names
        for severity in severities
    ]


def _presets(names: Iterable[str]) -> list[Condition]:
    return [Condition(kind="preset", name=name, unsupported=PRESETS[name].missing) for name in names]


def _attacks(*specs: str) -> list[Condition]:
    return [parse_attack(spec) for spec in specs]


def _robustmq() -> list[Condition]:
    budgets = [f"{name}:eps={eps},steps=20" for name in ("pgd", "mifgsm") for eps in (2, 8)]
    # RobustMQ's 0.5, 2, 8 in L2 and 100, 400, 1600 in L1, times 255; 127.5 is rounded down to a whole radius.
    budgets += [f"pgd_l2:eps={eps}" for eps in (127, 510, 2040)]
    budgets += [f"pgd_l1:eps={eps}" for eps in (25_500, 102_000, 408_000)]
    missing = [Condition(kind="attack", name=name, unsupported=why) for name, why in _ROBUSTMQ_MISSING.items()]
    return [
        *_corruptions(range(1, 6), IMAGENET_C),
        *_presets(ROBUSTMQ_GRID),
        *_attacks("fgsm:eps=2", "fgsm:eps=8", *budgets, "square:eps=2,queries=5000", "square:eps=8,queries=5000"),
        *missing,
    ]


def suite(name: str) -> tuple[Condition, ...]:
    """Give the conditions of a suite; the clean one always comes first.

    ``quick`` takes minutes on a laptop, ``standard`` adds strengths, severities and attack checks (``noise`` and
    eps 255, see `masked_conditions`), ``imagenet-c`` is its 15 corruptions at 5 severities, ``imagenet-c-bar`` the same
    of its ten, ``robustmq`` is the protocol of RobustMQ (Xiao et al. 2023) with every cell that can't be done named,
    ``full`` is everything there is but that protocol's grid of decoders and resizes.

    Raises:
        InputError: If there is no such suite.
    """
    match name:
        case "clean":
            chosen: list[Condition] = []
        case "quick":
            chosen = [
                *_corruptions((1, 3, 5), _QUICK_CORRUPTIONS),
                *_presets(_SHIFTS),
                *_attacks("mifgsm:eps=4", "square:eps=4,queries=300"),
            ]
        case "standard":
            chosen = [
                *_corruptions(range(1, 6), IMAGENET_C),
                *_presets(_STANDARD_SHIFTS),
                *_attacks(
                    *(f"{attack}:eps={eps}" for attack in ("pgd", "mifgsm") for eps in (2, 4, 8, _UNBOUNDED)),
                    *(f"square:eps={eps},queries=1000" for eps in (2, 4, 8, _UNBOUNDED)),
                    *(f"noise:eps={eps}" for eps in (2, 4, 8)),
                ),
            ]
        case "imagenet-c":
            chosen = _corruptions(range(1, 6), IMAGENET_C)
        case "imagenet-c-bar":
            chosen = _corruptions(range(1, 6), IMAGENET_C_BAR)
        case "robustmq":
            chosen = _robustmq()
        case "full":
            chosen = [
                *_corruptions(range(1, 6), CORRUPTIONS),
                *_presets(_ALL_SHIFTS),
                *_attacks(
                    *(f"{attack}:eps={eps}" for attack in ("fgsm", "pgd", "mifgsm") for eps in _EPS),
                    *(f"{attack}:eps={_UNBOUNDED}" for attack in ("pgd", "mifgsm")),
                    *(f"square:eps={eps},queries=5000" for eps in (*_EPS, _UNBOUNDED)),
                    *(f"noise:eps={eps}" for eps in _EPS),
                ),
            ]
        case _:
            raise unknown("suite", name, SUITES)
    return (CLEAN, *chosen)


SUITES = ("clean", "quick", "standard", "imagenet-c", "imagenet-c-bar", "robustmq", "full")


def corruption_condition(spec: str) -> Condition:
    """Read ``motion_blur:3``; without a severity it is 3.

    Raises:
        InputError: If there is no such corruption or severity.
    """
    name, _, severity = spec.partition(":")
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    if severity not in ("", "1", "2", "3", "4", "5"):
        raise InputError(f"Expected a severity in 1..5 in {spec!r}, got {severity!r}.")
    return _corruptions([int(severity or 3)], [name])[0]


def preset_condition(name: str) -> Condition:
    """Give the condition of serving the model through another preset; unsupported where a package of it is missing.

    Raises:
        InputError: If there is no such preset.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return _presets([name])[0]
