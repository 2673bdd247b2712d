"""What quantizing one layer alone does to the logits, and what the layer costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from ..core.errors import InputError
from ..engines.onnx_graph import Graph
from .questions import Questions, logits

PROBE_IMAGES = 32
"""Images behind the effect of one layer; a difference of logits needs few, a difference of accuracy many."""

Build = Callable[[Sequence[str]], ModelProto]
"""Gives the quantized model that leaves the named nodes in float."""


@dataclass(frozen=True, kw_only=True)
class LayerEffect:
    """What quantizing one layer alone does, all others being in float.

    Attributes:
        node: The layer.
        macs: Its multiply-accumulates for one image; the largest known count where its own is not.
        effect: Mean square difference of the logits from the float model's, less that with no layer quantized, in
            logits squared; never below 0.
    """

    node: str
    macs: int
    effect: float


def rank_layers(
    model: ModelProto,
    build: Build,
    questions: Questions,
    *,
    probe_images: int = PROBE_IMAGES,
    progress: Callable[[str], None] | None = None,
) -> tuple[LayerEffect, ...]:
    """Measure each layer's effect when it alone is quantized; the most effect per multiply-accumulate first.

    Args:
        model: The prepared float model, whose nodes have names.
        build: Gives the model to be run for nodes left in float.
        questions: Its first ``probe_images`` clean images are used; a data set's subset is in random order.
        probe_images: How many, at least 1.
        progress: Called with a line for each layer.

    Raises:
        InputError: If a layer has no name, or the model has none.
    """
    macs = layer_macs(model)
    images = next(iter(questions.versions.values()))[:probe_images]
    expected = logits(model, questions, images)

    def error(kept: Sequence[str]) -> float:
        found = logits(build(kept), questions, images)
        return float(np.square(found - expected, dtype=np.float64).mean())

    floor = error(list(macs))
    effects = []
    for place, name in enumerate(macs, start=1):
        if progress is not None:
            progress(f"Quantizing layer {place} of {len(macs)} alone")
        alone = error([other for other in macs if other != name])
        effects.append(LayerEffect(node=name, macs=macs[name], effect=max(0.0, alone - floor)))
    return tuple(sorted(effects, key=lambda effect: -effect.effect / max(effect.macs, 1)))


def layer_macs(model: ModelProto) -> dict[str, int]:
    """Give the multiply-accumulates of each layer by node name, in the order of the graph.

    Raises:
        InputError: If a layer has no name, or the model has none.
    """
    graph = Graph.of(model)
    counts = {node.name: graph.macs(node) for node in graph.layers()}
    if not counts or "" in counts:
        raise InputError("Expected a model whose layers have names, got one without. Run `prepare` on it first.")
    largest = max((count for count in counts.values() if count is not None), default=1)
    return {name: largest if count is None else count for name, count in counts.items()}
