"""Which layers a quantized model must keep in float so that its accuracy drops by no more than a bound.

The quantizer is the caller's: anything that gives a model for a list of nodes left in float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ..core.errors import InputError
from ..core.statistics import CONFIDENCE, paired_difference
from .layer_effects import PROBE_IMAGES, Build, LayerEffect, rank_layers
from .questions import Questions, right_answers

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One model that was built and examined.

    Attributes:
        kept: Nodes left in float.
        float_share: Their share of the multiply-accumulates, in [0, 1].
        value: Share of images answered rightly, by `Questions`.
        difference: The same less the float model's, in [-1, 1].
        low: Lower 95 % bound of the difference; it decides.
        p_value: Exact McNemar test against the float model.
        accepted: Whether ``low`` is above the largest drop allowed.
    """

    kept: tuple[str, ...]
    float_share: float
    value: float
    difference: float
    low: float
    p_value: float
    accepted: bool


@dataclass(frozen=True, kw_only=True)
class KeepFloat:
    """Which nodes stay in float, and how that was found.

    Attributes:
        nodes: The nodes, in the order of the graph.
        met: False where even all layers in float drop more than allowed; then ``nodes`` are all of them.
        reference: The float model's share of images answered rightly.
        effects: Every layer, the most effect per multiply-accumulate first.
        steps: Every model examined, in order.
    """

    nodes: tuple[str, ...]
    met: bool
    reference: float
    effects: tuple[LayerEffect, ...] = ()
    steps: tuple[Step, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the result as JSON data."""
        return {**asdict(self), "nodes": list(self.nodes)}


def keep_float(
    model: ModelProto,
    build: Build,
    questions: Questions,
    *,
    max_drop: float,
    probe_images: int = PROBE_IMAGES,
    progress: Callable[[str], None] | None = None,
) -> KeepFloat:
    """Find few and cheap layers to leave in float so that accuracy drops by no more than a bound.

    Three passes. (1) Each layer is quantized alone and the change of the logits measured on a few images: errors of
    single layers add up while they are small, so this needs one build a layer and no accuracy, where leaving out one
    layer of a broken model would show nothing. (2) Layers are ranked by effect per multiply-accumulate, and the
    shortest beginning of that list that holds the bound is found by bisection. (3) Each of them is tried without, the
    most expensive first, and dropped from the list if the bound still holds.

    The bound holds if the lower 95 % bound of the paired difference to the float model is above ``-max_drop``, so it is
    shown, not merely not refuted. The same images choose and judge over several looks: state the final accuracy on
    other images.

    Args:
        model: The prepared float model, whose nodes have names.
        build: Gives the model to be run for nodes left in float.
        questions: At least enough images to show the bound at all (183 for two points), none of them calibrated with.
        max_drop: Largest drop, as a share in (0, 1): 0.02 is two points.
        probe_images: Images behind each layer's effect, at least 1.
        progress: Called with a line for each build.

    Raises:
        InputError: If the images are too few, ``max_drop`` is no such share, or the float model gets no more right than
            the drop allows.
    """
    _check(questions, max_drop)
    say = progress or (lambda line: None)
    float_right = right_answers(model, questions)
    reference = float(float_right.mean())
    if reference <= max_drop:
        raise InputError(
            f"The float model gets {reference:.1%} right, so a drop of {max_drop:.1%} cannot be seen. Use a weaker "
            "attack, or another surrogate."
        )
    effects = rank_layers(model, build, questions, probe_images=probe_images, progress=say)
    search = _Search(build, questions, float_right, effects, max_drop, say)
    ranked = [effect.node for effect in effects]
    kept, met = search.shortest(ranked)
    nodes = search.pruned(kept) if met else kept
    order = {node.name: place for place, node in enumerate(model.graph.node)}
    return KeepFloat(
        nodes=tuple(sorted(nodes, key=lambda name: order[name])),
        met=met,
        reference=reference,
        effects=effects,
        steps=tuple(search.steps),
    )


class _Search:
    """Builds and examines models, and remembers each one."""

    def __init__(
        self,
        build: Build,
        questions: Questions,
        float_right: Bools,
        effects: Sequence[LayerEffect],
        max_drop: float,
        progress: Callable[[str], None],
    ) -> None:
        self.steps: list[Step] = []
        self._build, self._questions, self._float_right = build, questions, float_right
        self._macs = {effect.node: effect.macs for effect in effects}
        self._max_drop, self._progress = max_drop, progress

    def shortest(self, ranked: Sequence[str]) -> tuple[list[str], bool]:
        """Give the shortest beginning of the list that holds the bound, and whether one does."""
        if self._holds([]):
            return [], True
        if not self._holds(ranked):
            return list(ranked), False
        fails, holds = 0, len(ranked)
        while holds - fails > 1:
            middle = (fails + holds) // 2
            fails, holds = (fails, middle) if self._holds(ranked[:middle]) else (middle, holds)
        return list(ranked[:holds]), True

    def pruned(self, kept: Sequence[str]) -> list[str]:
        """Give what is left when each layer that is not needed is taken out, the most expensive first."""
        left = list(kept)
        for name in sorted(kept, key=lambda entry: -self._macs[entry]):
            fewer = [other for other in left if other != name]
            if fewer and self._holds(fewer):
                left = fewer
        return left

    def _holds(self, kept: Sequence[str]) -> bool:
        known = next((step for step in self.steps if set(step.kept) == set(kept)), None)
        if known is None:
            known = self._examined(kept)
            self.steps.append(known)
        return known.accepted

    def _examined(self, kept: Sequence[str]) -> Step:
        self._progress(f"Examining the model with {len(kept)} layers in float")
        right = right_answers(self._build(list(kept)), self._questions)
        found = paired_difference(right, self._float_right, seed=self._questions.seed)
        return Step(
            kept=tuple(kept),
            float_share=sum(self._macs[name] for name in kept) / max(sum(self._macs.values()), 1),
            value=float(right.mean()),
            difference=found.difference,
            low=found.low,
            p_value=found.p_value,
            accepted=found.low >= -self._max_drop,
        )


def _check(questions: Questions, max_drop: float) -> None:
    if not 0 < max_drop < 1:
        raise InputError(f"Expected `max_drop` as a share in (0, 1), got {max_drop}. Two points are 0.02.")
    # With no image answered differently the bound is that of 0 in n (see `paired_difference`).
    least = math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log1p(-max_drop))
    if len(questions.labels) < least:
        raise InputError(
            f"A drop of at most {max_drop:.1%} cannot be shown on {len(questions.labels)} images. "
            f"Pass at least {least}, or allow a larger drop."
        )
