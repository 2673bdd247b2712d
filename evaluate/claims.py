"""RobustMQ's claims about which noise hurts most and whom, each answered yes, no or not distinguishable.

One rule for all of them: a claim is a set of orderings (this mean is below that one). Each is tested by the paired
z-test on the same images, Holm-adjusted within the claim, at 5 %. *Yes*: every ordering is significant. *No*: one is
significantly the other way round. Else *not distinguishable*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.record import Record
from .metrics import Study
from .paired import compare, with_verdicts
from .served import Served

Values = Mapping[str, NDArray[np.float64]]
"""Group to (N,) shares right per image, the same images in every group."""

Verdict = Literal["yes", "no", "not distinguishable"]


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """One ordering that a claim makes.

    Attributes:
        below: The group said to be lower.
        above: The group said to be higher.
        difference: Mean of ``below`` minus mean of ``above``, in shares.
        low: Lower 95 % bound.
        high: Upper 95 % bound.
        p_holm: Adjusted over the claim's orderings.
        detectable: Smallest difference the test finds at 80 % power.
        verdict: ``yes``, ``no`` or ``not distinguishable``.
    """

    below: str
    above: str
    difference: float
    low: float
    high: float
    p_holm: float
    detectable: float
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim and its answer.

    Attributes:
        text: The claim in words.
        engine: Whose answers it was tested on.
        n: Number of images.
        means: Group to mean accuracy.
        orderings: What was tested.
    """

    text: str
    engine: str
    n: int
    means: Mapping[str, float]
    orderings: tuple[Ordering, ...]

    @property
    def answer(self) -> Verdict:
        """The answer by the module's rule."""
        verdicts = {ordering.verdict for ordering in self.orderings}
        if "no" in verdicts:
            return "no"
        return "yes" if verdicts == {"yes"} else "not distinguishable"

    def to_json(self) -> dict[str, Any]:
        """Give the claim as JSON data, its answer included."""
        return {**asdict(self), "answer": self.answer}


def claim(text: str, values: Values, pairs: Sequence[tuple[str, str]], *, engine: str, seed: int = 0) -> Claim:
    """Test the orderings of a claim.

    Args:
        text: The claim in words.
        values: Shares right per image and group.
        pairs: (group said to be lower, group said to be higher), at least one.
        engine: What the answers belong to.
        seed: Seed of the bootstrap behind the intervals.

    Raises:
        InputError: If a group is not among the values, or there is no pair.
    """
    for name in (name for pair in pairs for name in pair if name not in values):
        raise InputError(f"The claim '{text}' needs '{name}', which was not measured.")
    if not pairs:
        raise InputError(f"The claim '{text}' compares nothing. Measure more conditions.")
    records = [_compared(values, pair, seed) for pair in pairs]
    orderings = tuple(map(_ordering, pairs, with_verdicts(records, less_is_better=("difference",))))
    means = {name: float(shares.mean()) for name, shares in values.items()}
    return Claim(text=text, engine=engine, n=records[0].n, means=means, orderings=orderings)


def _compared(values: Values, pair: tuple[str, str], seed: int) -> Record:
    below, above = values[pair[0]], values[pair[1]]
    found = compare(pair[1], below, above, seed)
    return Record(
        engine=pair[0],
        condition=pair[1],
        metric="difference",
        value=found.difference,
        low=found.low,
        high=found.high,
        n=below.size,
        seed=seed,
        comparison=found,
    )


def _ordering(pair: tuple[str, str], record: Record) -> Ordering:
    found = record.comparison
    assert found is not None
    verdict: Verdict = "not distinguishable"
    if found.verdict != "not distinguishable":
        verdict = "yes" if found.verdict == "better" else "no"
    return Ordering(
        below=pair[0],
        above=pair[1],
        difference=found.difference,
        low=found.low,
        high=found.high,
        p_holm=found.p_holm,
        detectable=found.detectable,
        verdict=verdict,
    )


def total_shares(study: Study) -> Values:
    """Give the mean over corruptions of the share of severities each image survives, per engine."""
    conditions = [c.label for c in study.conditions if c.kind == "corruption"]
    cells = {engine: [study.cell(engine, label) for label in conditions] for engine in study.engines}
    whole = {engine: [cell for cell in found if cell is not None] for engine, found in cells.items() if all(found)}
    if not conditions or not whole:
        raise InputError("The run measured no corruption on any engine. Evaluate with --suite imagenet-c.")
    valid = np.logical_and.reduce([cell.valid for found in whole.values() for cell in found])
    return {engine: np.mean([cell.correct[valid] for cell in found], axis=0) for engine, found in whole.items()}


def corruption_claims(study: Study, engine: str) -> list[Claim]:
    """Answer RobustMQ's third claim from a run: impulse noise and glass blur are worst, brightness mildest.

    Args:
        study: A run that measured these and other corruptions; an image's share is over the severities measured.
        engine: One of its engines.

    Raises:
        InputError: If one of the three was not measured.

    Reference:
        RobustMQ (Xiao et al. 2023, arXiv 2308.02350), findings on natural noise.
    """
    values = corruption_shares(study, engine)
    worst, mildest = ("impulse_noise", "glass_blur"), ("brightness",)
    return [
        _lowest("impulse noise and glass blur are the worst corruptions", values, worst, engine, study.seed),
        _highest("brightness is the mildest corruption", values, mildest, engine, study.seed),
    ]


def corruption_shares(study: Study, engine: str) -> Values:
    """Give the share of severities each image survives, per corruption, over the images every cell could be asked."""
    names = list(dict.fromkeys(c.name for c in study.conditions if c.kind == "corruption"))
    cells = {
        name: [
            cell
            for c in study.conditions
            if c.kind == "corruption" and c.name == name and (cell := study.cell(engine, c.label)) is not None
        ]
        for name in names
    }
    valid = np.logical_and.reduce([cell.valid for found in cells.values() for cell in found])
    return {name: np.mean([cell.correct[valid] for cell in found], axis=0) for name, found in cells.items() if found}


def resize_claims(served: Served, engine: str, *, seed: int = 0) -> list[Claim]:
    """Answer RobustMQ's fourth claim: nearest is the worst resize; bilinear, cubic and area the mildest.

    Args:
        served: Answers over ways named ``DECODER/LIBRARY-KERNEL``; an image's share is over all cells of a kernel.
        engine: One of its engines.
        seed: Seed of the bootstrap.

    Reference:
        RobustMQ (Xiao et al. 2023, arXiv 2308.02350), findings on systematic noise.
    """
    values = kernel_shares(served, engine)
    mildest = ("bilinear", "cubic", "area")
    return [
        _lowest("nearest is the worst resize", values, ("nearest",), engine, seed),
        _highest("bilinear, cubic and area are the mildest resizes", values, mildest, engine, seed),
    ]


def kernel_shares(served: Served, engine: str) -> Values:
    """Give the share of cells each image is right in, per kernel, both libraries and all decoders together."""
    kernels: dict[str, list[NDArray[np.bool_]]] = {}
    for way in served.ways:
        kernel = way.rpartition("-")[2]
        kernels.setdefault(_SAME_KERNEL.get(kernel, kernel), []).append(served.right(engine, way))
    return {kernel: np.mean(found, axis=0) for kernel, found in kernels.items()}


def engine_claims(noise: str, shares: Values, *, reference: str, ladder: Sequence[str], seed: int = 0) -> list[Claim]:
    """Answer RobustMQ's first two claims for one kind of noise: quantization loses accuracy, more bits lose less.

    Both are about accuracy under the noise, as RobustMQ's are; an engine that is worse on clean images is worse here.

    Args:
        noise: What the images went through, in words.
        shares: Engine to (N,) shares right per image, the same images for all.
        reference: The float engine; without its shares nothing is held against it.
        ladder: The quantized engines, fewest bits first; with fewer than two nothing is said about bits.
        seed: Seed of the bootstrap.

    Reference:
        RobustMQ (Xiao et al. 2023, arXiv 2308.02350), findings on natural and systematic noise.
    """
    others = [name for name in shares if name != reference] if reference in shares else []
    found = [
        claim(
            f"{name} is less accurate than {reference} under {noise}",
            shares,
            [(name, reference)],
            engine=name,
            seed=seed,
        )
        for name in others
    ]
    measured = [name for name in ladder if name in shares]
    if steps := list(pairwise(measured)):
        text = f"more bits are more accurate under {noise}"
        found.append(claim(text, shares, steps, engine=" < ".join(measured), seed=seed))
    return found


def grid_shares(served: Served, engines: Sequence[str]) -> Values:
    """Give the share of ways each image is right in, per engine."""
    return {
        engine: np.mean([served.right(engine, way) for way in served.ways], axis=0)
        for engine in engines
        if engine not in served.broken
    }


_SAME_KERNEL = {"linear": "bilinear", "bicubic": "cubic"}


def _lowest(text: str, values: Values, named: Sequence[str], engine: str, seed: int) -> Claim:
    return claim(text, values, list(product(named, _others(values, named))), engine=engine, seed=seed)


def _highest(text: str, values: Values, named: Sequence[str], engine: str, seed: int) -> Claim:
    return claim(text, values, list(product(_others(values, named), named)), engine=engine, seed=seed)


def _others(values: Values, named: Sequence[str]) -> list[str]:
    return [name for name in values if name not in named]
