"""How numbers, intervals and condition names are worded; the one place, so that the page says each thing one way."""

from __future__ import annotations

import math
import re

from ..core.record import Record

NARROW = "\u202f"  # keeps a number and its unit on one line
MINUS = "\u2212"
MISSING = "not measured"
NONE = "\u2013"  # a cell without a figure
DASH = "\u2013"

_METRICS = {
    "accuracy": "accuracy",
    "mean_accuracy": "mean accuracy",
    "robust_accuracy": "robust accuracy (raw)",
    "targeted_success": "targeted success",
    "adversarial_robustness": "adversarial robustness (AR)",
    "common_correct_accuracy": "accuracy where all engines start right",
    "flips_right_to_wrong": "flips, right to wrong",
    "flips_wrong_to_right": "flips, wrong to right",
    "clean_accuracy": "clean accuracy on the same route",
    "attack_success": "attack success",
    "survival": "survival of what fooled the engine",
    "mce_c_bar": "mCE of ImageNet-C-bar",
    "relative_mce_c_bar": "relative mCE of ImageNet-C-bar",
    "mean_queries": "queries, mean",
    "median_queries": "queries, median",
}
_FLAGS = {
    "near-chance": "no better than guessing: check the class list and the preset",
    "weaker-than-transfer": "finds less than a transfer attack of the same strength: the worst case counts",
    "weaker-than-queries": "finds less than queries do, though made on the engine's own gradients: they are masked",
    "masking-suspected": "masking suspected: more robust than the reference to queries only, not to transfer",
    "no-better-than-noise": "not significantly better than random noise of the same strength",
    "flat-in-eps": "robust accuracy does not fall with eps: the attack fails, not the engine holds",
    "worse-with-steps": "finds less with more steps or queries",
    "broken-attack": "fails even without a bound (eps 255): the attack is broken",
    "many-ties": "many tied scores: plateaus hide the way from query attacks",
    "zero-gradients": "over 1 % of the surrogate's gradients were exactly zero",
}
_NAMES = {
    "clean": "clean images",
    "corruptions": "all corruptions",
    "worst-case": "worst case",
    "jpeg": "JPEG",
    "adba": "ADBA",
    "bsr": "BSR",
    "difgsm": "DI-FGSM",
    "ditifgsm": "DI-TI-FGSM",
    "fgsm": "FGSM",
    "hopskipjump": "HopSkipJump",
    "mifgsm": "MI-FGSM",
    "nes": "NES",
    "nifgsm": "NI-FGSM",
    "pgd": "PGD",
    "pgd_l1": "PGD in L1",
    "pgd_l2": "PGD in L2",
    "patch": "adversarial patch",
    "patch_control": "patch of noise",
    "pgn": "PGN",
    "prgf": "P-RGF",
    "rays": "RayS",
    "signhunter": "SignHunter",
    "sinifgsm": "SI-NI-FGSM",
    "square": "Square",
    "square_l2": "Square in L2",
    "surfree": "SurFree",
    "tifgsm": "TI-FGSM",
    "universal": "universal perturbation",
    "vmifgsm": "VMI-FGSM",
}


def percent(share: float) -> str:
    r"""Word a share in [0, 1] as a percentage with one decimal.

    Example:
        >>> percent(0.8983)
        '89.8\u202f%'
    """
    return MISSING if math.isnan(share) else f"{_signless(share * 100, 1)}{NARROW}%"


def points(difference: float) -> str:
    r"""Word a difference of two shares in percentage points, always with its sign.

    Example:
        >>> points(0.0121)
        '+1.2 points'
    """
    return MISSING if math.isnan(difference) else f"{_signed(difference * 100, 1)} points"


def quantity(value: float, unit: str) -> str:
    r"""Word a figure in its unit: a share as a percentage, a count whole, the rest with three digits.

    Example:
        >>> quantity(1.4234, "ms")
        '1.42\u202fms'
    """
    if math.isnan(value):
        return MISSING
    if unit == "share":
        return percent(value)
    return f"{number(value)}{NARROW}{unit}" if unit else number(value)


def interval(low: float, high: float, unit: str) -> str:
    r"""Word two bounds as a range, the unit written once; empty where there are none.

    Example:
        >>> interval(0.867, 0.922, "share").split(DASH)
        ['86.7', '92.2\u202f%']
    """
    if math.isnan(low) or math.isnan(high):
        return ""
    bounds = [_signless(bound * 100, 1) if unit == "share" else number(bound) for bound in (low, high)]
    tail = "%" if unit == "share" else unit
    return DASH.join(bounds) + (f"{NARROW}{tail}" if tail else "")


def difference(value: float, unit: str) -> str:
    """Word a difference in the unit of what was compared."""
    if unit == "share" or math.isnan(value):
        return points(value)
    return f"{'+' if value > 0 else ''}{number(value)}{NARROW}{unit}"


def difference_interval(low: float, high: float, unit: str) -> str:
    r"""Word the bounds of a difference, each with its sign.

    Example:
        >>> difference_interval(0.007, 0.011, "share")
        '+0.7 to +1.1'
    """
    if math.isnan(low) or math.isnan(high):
        return ""
    scale = 100 if unit == "share" else 1
    return f"{_signed(low * scale, 1)} to {_signed(high * scale, 1)}"


def p_value(value: float) -> str:
    r"""Word a p-value without pretending to digits it does not have.

    Example:
        >>> p_value(0.0004), p_value(0.0312), p_value(1.0)
        ('p\xa0<\xa00.001', 'p\xa0=\xa00.031', 'p\xa0=\xa01')
    """
    return "p not computed" if math.isnan(value) else f"p\u00a0{_p_sign(value)}"


def number(value: float) -> str:
    """Word a plain number: whole numbers grouped by thousands, others with three significant digits."""
    if math.isnan(value):
        return MISSING
    if value == int(value) or abs(value) >= 1000:
        return f"{round(value):,}".replace("-", MINUS).replace(",", NARROW)
    return _trim(f"{value:#.3g}" if abs(value) >= 1e-4 else f"{value:.1e}")


def size(count: int) -> str:
    r"""Word a file size in decimal units.

    Example:
        >>> size(3_655_033)
        '3.66\u202fMB'
    """
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= factor:
            return f"{_trim(f'{count / factor:#.3g}')}{NARROW}{unit}"
    return f"{count}{NARROW}bytes"


def plural(count: int, noun: str) -> str:
    """Word a count with its noun.

    Example:
        >>> plural(1, "image"), plural(472, "image")
        ('1 image', '472 images')
    """
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def figure(record: Record) -> str:
    """Word a record's value in its unit."""
    return quantity(record.value, record.unit)


def metric_label(metric: str) -> str:
    """Give a metric's name in words; an unknown one as it is written."""
    return _METRICS.get(metric, metric.replace("_", " ").replace("mce", "mCE"))


def flag(name: str) -> str:
    """Word a record's flag; one that is not known is shown as it is."""
    return _FLAGS.get(name, name)


def condition_label(condition: str) -> str:
    """Give a condition in words; what does not parse is shown as it is written.

    Example:
        >>> condition_label("gaussian_noise:3"), condition_label("square:eps=8,queries=1000")
        ('gaussian noise, severity 3', 'Square, eps 8/255, 1000 queries')
    """
    base, via, way = condition.partition(" via ")
    if via:
        return f"{condition_label(base)}, {route(way)}"
    name, colon, rest = condition.partition(":")
    if not colon:
        return _NAMES.get(condition, condition)
    if name == "preset":
        return rest
    if re.fullmatch(r"\d+", rest):
        return f"{_NAMES.get(name, name.replace('_', ' '))}, severity {rest}"
    settings = [_setting(*part.partition("=")) for part in rest.split(",")]
    return ", ".join([_NAMES.get(name, name.replace("_", " ")), *settings])


def route(name: str) -> str:
    """Give in words how images reached the engine.

    Example:
        >>> [route(name) for name in ("lossless", "jpeg:90", "preset:opencv-area")]
        ['lossless', 'JPEG 90', 'through opencv-area']
    """
    kind, _, rest = name.partition(":")
    return {"jpeg": f"JPEG {rest}", "preset": f"through {rest}"}.get(kind, name)


def condition_title(condition: str) -> str:
    """Give a condition in words that stand alone, as a heading or in a list."""
    words = condition_label(condition)
    words = f"preset {words}" if condition.startswith("preset:") else words
    return words[:1].upper() + words[1:]


def _setting(key: str, equals: str, value: str) -> str:
    if not equals:
        return key
    if key == "eps" and value.isdecimal():
        return f"eps {value}/255"
    if key == "area" and value.isdecimal():
        return f"{value} % of the image"
    if key == "images":
        return f"learned on {value} images"
    return f"{value} {key}" if key in ("queries", "steps") else f"{key} {value}"


def _signless(value: float, digits: int) -> str:
    rounded = f"{value:.{digits}f}"
    return rounded.replace("-", MINUS) if float(rounded) else f"{0:.{digits}f}"


def _signed(value: float, digits: int) -> str:
    body = _signless(value, digits)
    return f"+{body}" if float(f"{value:.{digits}f}") > 0 else body


def _trim(written: str) -> str:
    return written.rstrip(".").replace("-", MINUS)


def _p_sign(value: float) -> str:
    if value < 0.001:
        return "<\u00a00.001"
    return "=\u00a01" if value > 0.9995 else f"=\u00a0{value:.3f}"
