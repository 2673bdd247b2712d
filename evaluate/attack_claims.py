"""RobustMQ's first two claims for attacks: are quantized engines harder to fool, and fewer bits harder than more?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from ..core.errors import InputError
from .claims import Claim, Values, claim
from .conditions import CLEAN
from .metrics import Study
from .results import Cell


def common_attacks(studies: Mapping[str, Study]) -> list[str]:
    """Name the attacks that were measured on every engine, each in its own run.

    An engine whose gradients cannot be had, or are not its own, is left with the attacks that need none.
    """
    asked = dict.fromkeys(c.label for study in studies.values() for c in study.attacks)
    return [label for label in asked if all(study.cell(name, label) for name, study in studies.items())]


def attack_shares(studies: Mapping[str, Study]) -> Values:
    """Give the share of `common_attacks` each image survives, per engine, over the images all engines get right clean.

    RobustMQ's AR divides by what each engine itself gets right; a paired test needs the same images for all.

    Args:
        studies: Engine to the run that attacked it, each with its own gradients. The runs may be one: then the
            engines that are not its source of gradients saw transferred examples, which fool them less.

    Raises:
        InputError: If no attack was measured on all engines, or the runs are of other images.
    """
    attacks = common_attacks(studies)
    if not attacks:
        raise InputError("The runs measured no attack on every engine. Evaluate all with the same --attack.")
    cells = {name: [_cell(study, name, label) for label in (CLEAN.label, *attacks)] for name, study in studies.items()}
    every = [cell for found in cells.values() for cell in found]
    if len({str(cell.identity.get("dataset")) for cell in every}) > 1 or len({cell.valid.size for cell in every}) > 1:
        raise InputError("The runs are of different images. Evaluate with the same --data, --images and --seed.")
    kept = np.logical_and.reduce([cell.valid for cell in every])
    kept &= np.logical_and.reduce([found[0].correct for found in cells.values()])
    if not kept.any():
        raise InputError("No image is answered rightly by all engines, so none can be attacked on all.")
    return {name: np.mean([cell.correct[kept] for cell in found[1:]], axis=0) for name, found in cells.items()}


def attack_claims(shares: Values, *, reference: str, ladder: Sequence[str], seed: int = 0) -> list[Claim]:
    """Answer the claims that quantization makes engines harder to fool, and fewer bits harder still.

    Args:
        shares: Engine to (N,) shares of attacks survived, the same images for all.
        reference: The float engine.
        ladder: The quantized engines, fewest bits first; with fewer than two nothing is said about bits.
        seed: Seed of the bootstrap.

    Reference:
        RobustMQ (Xiao et al. 2023, arXiv 2308.02350), findings on adversarial noise.
    """
    others = [name for name in shares if name != reference]
    found = [
        claim(f"{name} survives more attacks than {reference}", shares, [(reference, name)], engine=name, seed=seed)
        for name in others
    ]
    steps = [(more, fewer) for fewer, more in pairwise(name for name in ladder if name in shares)]
    if steps:
        text = "fewer bits survive more attacks"
        found.append(claim(text, shares, steps, engine=" < ".join(ladder), seed=seed))
    return found


def _cell(study: Study, engine: str, label: str) -> Cell:
    found = study.cell(engine, label)
    if found is None:
        raise InputError(f"'{label}' was not measured on '{engine}'. Evaluate it again.")
    return found
