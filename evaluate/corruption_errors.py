"""Corruption errors in the sense of ImageNet-C, against the reference engine and against AlexNet; a mean a family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.record import Record
from ..core.statistics import bootstrap_bounds
from .conditions import CLEAN
from .corruptions.catalog import IMAGENET_C, IMAGENET_C_BAR
from .corruptions.parameters import SEVERITIES

if TYPE_CHECKING:
    from .metrics import Study

ALEXNET: Mapping[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg": 0.606500,
}
"""AlexNet's error, mean of the five severities, on the ImageNet-C of 50 000 images stored as JPEG."""

IMAGENET_CLASSES = 1000
RESAMPLES = 2000
_RESAMPLES_AT_ONCE = 50

Floats = NDArray[np.float64]


FAMILIES: Mapping[str, Sequence[str]] = {"": tuple(IMAGENET_C), "_c_bar": tuple(IMAGENET_C_BAR)}
"""What the names of a family's means end in, and its corruptions; no mean is over two families."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Wrong answers of an engine and of the reference, on the images valid in all of their cells.

    Attributes:
        family: Key of ``FAMILIES``.
        names: Corruptions measured at all five severities by both.
        counts: (N, 2 K + 2): per image the severities that the engine gets wrong, for K corruptions; the reference's;
            whether the engine and the reference are wrong on the clean image, times five.
    """

    family: str
    names: Sequence[str]
    counts: NDArray[np.float32]


def corruption_errors(study: Study, engine: str) -> list[Record]:
    """Give corruption errors for every corruption of a family measured at all five severities, and their means.

    With E the error on the same images and sums over severities: ``corruption_error`` = sum(E) / sum(E of the
    reference), never a mean of ratios; ``relative_corruption_error`` = the same with each engine's clean error taken
    off; ``corruption_error_alexnet`` divides by AlexNet's published error, for models of 1000 classes;
    ``relative_drop`` = 1 - accuracy / clean accuracy; ``drop_difference`` = how much more accuracy the engine loses
    than the reference, in shares of all images. ``mce``, ``relative_mce`` and ``mce_alexnet`` are the means over all
    15 of ImageNet-C; over fewer they are called ``mce_of_14`` and so on. Those of ImageNet-C-bar, for which AlexNet's
    errors were not published, are ``mce_c_bar``, or ``mce_c_bar_of_9``.

    Intervals are 95 % percentile bootstraps over images, each image with all its answers.

    Reference:
        Hendrycks & Dietterich 2019, arXiv 1903.12261, section 4.3.
    """
    return [record for family in FAMILIES for record in _of_family(study, engine, family)]


def _of_family(study: Study, engine: str, family: str) -> list[Record]:
    errors = _errors(study, engine, family)
    if errors is None:
        return []
    total, samples = errors.counts.sum(axis=0, dtype=np.float64)[None], _resampled(errors.counts, study.seed)
    figures = zip(_figures(total, errors, study, engine), _figures(samples, errors, study, engine), strict=True)
    return [
        _record(study, engine, condition, metric, value[0], resampled, errors)
        for (condition, metric, value), (_, _, resampled) in figures
        if np.isfinite(value[0])
    ]


def _errors(study: Study, engine: str, family: str) -> Errors | None:
    pair = (engine, study.engines[0])
    labels = {name: [f"{name}:{severity}" for severity in SEVERITIES] for name in FAMILIES[family]}
    measured = {
        name: [[study.cell(who, label) for label in of_name] for who in pair] for name, of_name in labels.items()
    }
    whole = {
        name: [[cell for cell in cells if cell is not None] for cells in both]
        for name, both in measured.items()
        if all(cell is not None for cells in both for cell in cells)
    }
    clean = [cell for who in pair if (cell := study.cell(who, CLEAN.label)) is not None]
    if not whole or len(clean) < len(pair):
        return None
    valid = np.logical_and.reduce([c.valid for both in whole.values() for cells in both for c in cells])
    valid &= clean[0].valid & clean[1].valid
    if not valid.any():
        return None
    wrong = [
        np.sum([~cell.correct[valid] for cell in both[side]], axis=0) for side in (0, 1) for both in whole.values()
    ]
    wrong += [len(SEVERITIES) * ~cell.correct[valid].astype(bool) for cell in clean]
    return Errors(family=family, names=tuple(whole), counts=np.stack(wrong, axis=1).astype(np.float32))


def _resampled(counts: NDArray[np.float32], seed: int) -> Floats:
    """Sum the columns over resamples of the images: (RESAMPLES, columns)."""
    rng = np.random.default_rng(seed)
    images = len(counts)
    even = np.full(images, 1 / images)
    sums = [
        rng.multinomial(images, even, size=_RESAMPLES_AT_ONCE).astype(np.float32) @ counts
        for _ in range(RESAMPLES // _RESAMPLES_AT_ONCE)
    ]
    return np.concatenate(sums).astype(np.float64)


def _figures(sums: Floats, errors: Errors, study: Study, engine: str) -> Iterator[tuple[str, str, Floats]]:
    """Give (condition, metric, values) for (resamples, columns) sums."""
    kinds = len(errors.names)
    asked = len(SEVERITIES) * len(errors.counts)
    mine, theirs, clean = sums[:, :kinds], sums[:, kinds : 2 * kinds], sums[:, 2 * kinds :]
    my_clean, their_clean = clean[:, :1], clean[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):  # what can't be divided becomes no record
        found = {"relative_drop": 1 - (asked - mine) / (asked - my_clean)}
        if engine != study.engines[0]:
            found["corruption_error"] = mine / theirs
            found["relative_corruption_error"] = (mine - my_clean) / (theirs - their_clean)
            found["drop_difference"] = ((mine - my_clean) - (theirs - their_clean)) / asked
        if study.classes == IMAGENET_CLASSES and not errors.family:
            found["corruption_error_alexnet"] = mine / asked / np.array([ALEXNET[name] for name in errors.names])
    for metric, values in found.items():
        yield from ((name, metric, values[:, column]) for column, name in enumerate(errors.names))
    whole = errors.family + ("" if kinds == len(FAMILIES[errors.family]) else f"_of_{kinds}")
    means = {
        "corruption_error": f"mce{whole}",
        "relative_corruption_error": f"relative_mce{whole}",
        "corruption_error_alexnet": f"mce_alexnet{whole}",
        "drop_difference": f"mean_drop_difference{whole}",
        "relative_drop": f"mean_relative_drop{whole}",
    }
    yield from (("corruptions", means[metric], values.mean(axis=1)) for metric, values in found.items())


def _record(
    study: Study, engine: str, condition: str, metric: str, value: float, resampled: Floats, errors: Errors
) -> Record:
    finite = resampled[np.isfinite(resampled)]
    low, high = bootstrap_bounds(finite) if finite.size else (value, value)
    return Record(
        engine=engine,
        condition=condition,
        metric=metric,
        value=float(value),
        low=float(low),
        high=float(high),
        n=len(errors.counts),
        seed=study.seed,
        identity={"corruptions": list(errors.names) if condition == "corruptions" else [condition]},
    )
