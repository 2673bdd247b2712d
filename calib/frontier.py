"""Activations kept where a network is one tensor wide, so that a layer far behind need not start from the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import onnx

from .graph import model_input
from .layers import Floats
from .prefix import in_order, runner

MOST_BYTES = 256 << 20
"""Largest size of the activations of all images that are kept; where they are larger, an earlier tensor stays."""

Batches = Callable[[], Iterable[Floats]]


def bottlenecks(model: onnx.ModelProto) -> dict[str, int]:
    """Name the activations that all behind them is computed from, and the node behind which each is the only one left.

    Args:
        model: A model in topological order.

    Returns:
        Name to the node's place; the input has place -1.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    last = {name: place for place, node in enumerate(model.graph.node) for name in node.input}
    last.update({value.name: len(model.graph.node) for value in model.graph.output})
    live = {model_input(model).name}
    found = dict.fromkeys(live, -1)
    for place, node in enumerate(model.graph.node):
        live.update(name for name in node.output if name not in constants)
        live = {name for name in live if last.get(name, -1) > place}
        if len(live) == 1:
            found.setdefault(next(iter(live)), place)
    return found


class Frontier:
    """The values of one bottleneck of a network, batch by batch; it moves on as the layers before it are settled.

    Args:
        model: The network; weights behind the frontier may still change.
        batches: Gives the images, the same at every call.
        most_bytes: Largest size of what is kept.
    """

    def __init__(self, model: onnx.ModelProto, batches: Batches, *, most_bytes: int = MOST_BYTES) -> None:
        self.start = model_input(model).name
        self._model, self._batches, self._most = model, batches, most_bytes
        self._places = bottlenecks(model)
        self._kept: list[Floats] | None = None

    def __iter__(self) -> Iterator[Floats]:
        """Give the values at the frontier, or the images where it has not moved."""
        return iter(self._batches() if self._kept is None else self._kept)

    def move(self, tensor: str, *, threads: int) -> None:
        """Move on to the last bottleneck at or before an activation; what computes it must not change any more.

        Args:
            tensor: The activation that is wanted next.
            threads: Batches computed at a time.
        """
        made = {name: place for place, node in enumerate(self._model.graph.node) for name in node.output}
        reached = [name for name, place in self._places.items() if place <= made.get(tensor, -1)]
        goal = max(reached, key=self._places.__getitem__)
        if self._places[goal] <= self._places[self.start]:
            return
        values: list[Floats] = []
        for batch in in_order(runner(self._model, goal, start=self.start), self, threads=threads):
            values.append(batch)
            if batch.dtype != np.float32 or sum(kept.nbytes for kept in values) > self._most:
                return
        self.start, self._kept = goal, values
