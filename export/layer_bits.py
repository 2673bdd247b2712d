"""How many bits each layer's weights and inputs get: a recipe resolved on a graph. Nothing is quantized here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from ..core.errors import InputError, unknown
from ..core.recipe import LayerRule, Recipe
from .graph import initializers, is_standard

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ENDS = LayerRule(weights=8, activations=8)


@dataclass(frozen=True, kw_only=True)
class LayerBits:
    """The grid of each node, and of what leaves the network.

    Attributes:
        rules: Node name to its bits, both given unless the node stays in float.
        default: The bits of nodes that are not in the float model.
        output: Bits of the graph's outputs: those of the activations of the last layer with weights.
    """

    rules: Mapping[str, LayerRule]
    default: LayerRule
    output: int

    @property
    def narrow(self) -> bool:
        """Whether anything is on fewer than 8 bits."""
        widths = {bits for rule in self.rules.values() for bits in (rule.weights, rule.activations)}
        return bool(widths - {8, None})

    def weights(self, node: str) -> int:
        """Give the bits of a node's weights; 8 for one that stays in float."""
        return self.rules.get(node, self.default).weights or 8

    def activations(self, node: str) -> int:
        """Give the bits of the tensors a node reads; 8 for one that stays in float, to be spared as far as can be."""
        return self.rules.get(node, self.default).activations or 8


def layer_bits(model: onnx.ModelProto, recipe: Recipe) -> LayerBits:
    """Resolve a recipe on a float model.

    With ``keep_ends`` 8 bits go to the first and the last layer with weights, in the order of computation, and to the
    nodes before the first and behind the last.

    Args:
        model: A prepared float model: every node has a name of its own.
        recipe: Default and exceptions.

    Returns:
        The bits of every node.

    Raises:
        InputError: If the recipe names a layer that the model does not have, or gives weights' bits to a node without
            weights.
    """
    stored = initializers(model.graph)
    weighted = [node.name for node in model.graph.node if _weight(node) in stored]
    known = [node.name for node in model.graph.node]
    for name, rule in recipe.layers.items():
        if name not in known:
            raise unknown("layer", name, known)
        if rule.weights is not None and name not in weighted:
            raise InputError(f"Layer '{name}' has no weights. Leave `weights` out for it.")
    default = LayerRule(weights=recipe.precision.weights, activations=recipe.precision.activations)
    first, last = (known.index(weighted[0]), known.index(weighted[-1])) if weighted else (-1, len(known))
    rules = {}
    for index, name in enumerate(known):
        at_an_end = recipe.keep_ends and not first < index < last
        rules[name] = _merged(recipe.layers.get(name, LayerRule()), _ENDS if at_an_end else default)
    output = rules[weighted[-1]].activations if weighted else default.activations
    return LayerBits(rules=rules, default=default, output=output or 8)


def weight_bits(model: onnx.ModelProto, recipe: Recipe) -> dict[str, int]:
    """Give the bits of every weight that goes on a grid, by its initializer's name, in the order of computation.

    A weight that several layers share gets the most bits any of them asks for. Weights of layers in float are missing.

    Raises:
        InputError: If the recipe does not fit the model.
    """
    bits = layer_bits(model, recipe)
    stored = initializers(model.graph)
    found: dict[str, int] = {}
    for node in model.graph.node:
        name = _weight(node)
        if name in stored and node.name not in recipe.float_layers:
            found[name] = max(found.get(name, 2), bits.weights(node.name))
    return found


def _weight(node: onnx.NodeProto) -> str:
    return node.input[1] if is_standard(node, *WEIGHTED) and len(node.input) > 1 else ""


def _merged(own: LayerRule, otherwise: LayerRule) -> LayerRule:
    if own.keep_float:
        return own
    return LayerRule(weights=own.weights or otherwise.weights, activations=own.activations or otherwise.activations)
