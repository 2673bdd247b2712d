"""Per-channel extremes of activations, streamed: memory does not grow with the number of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ..core.errors import InputError
from .graph import model_input
from .histogram import Floats
from .probe import open_model

_LEAST = 1e-5  # magnitudes below count as this, so that a ratio to a dead channel stays finite


@dataclass(frozen=True, kw_only=True)
class ChannelRange:
    """The extremes of one activation, channel by channel.

    Attributes:
        low: (channels,) float32, the least value over all images and positions.
        high: (channels,) float32, the largest one.
    """

    low: Floats
    high: Floats

    @property
    def magnitude(self) -> Floats:
        """Give the largest magnitude of each channel, (channels,) float32."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def union(self, other: ChannelRange) -> ChannelRange:
        """Give the range over the images of both."""
        return ChannelRange(low=np.minimum(self.low, other.low), high=np.maximum(self.high, other.high))


def peak(magnitude: Floats) -> float:
    """Give the largest magnitude over that of the median channel: 1 where all are alike.

    Args:
        magnitude: (channels,) non-negative.
    """
    return float(magnitude.max() / max(float(np.median(magnitude)), _LEAST))


def transformer_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """Name what enters the LayerNormalizations and the products with constant matrices, in the order of computation."""
    matrices = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    read = (
        node.input[0]
        for node in model.graph.node
        if node.op_type == "LayerNormalization" or (node.op_type == "MatMul" and node.input[1] in matrices)
    )
    return tuple(dict.fromkeys(read))


def channel_ranges(
    model: onnx.ModelProto, batches: Iterable[Floats], tensors: Sequence[str]
) -> dict[str, ChannelRange]:
    """Give the extremes of each channel, the last axis, over all images and positions.

    Args:
        model: A float classifier with one image input; not changed.
        batches: (n, ...) float32 arrays as the model takes them; consumed once, one at a time.
        tensors: Activations with a fixed last axis, the (N, tokens, channels) of a transformer for instance.

    Returns:
        Tensor name to its channels' extremes.

    Raises:
        InputError: If there is no image, or an activation is not finite.
        UnsupportedError: If ONNX Runtime is not installed.
    """
    opened, source = open_model(model, tuple(tensors)), model_input(model).name
    found: dict[str, ChannelRange] = {}
    for batch in batches:
        for name, values in zip(tensors, opened.session.run(list(tensors), {source: batch}), strict=True):
            now = _range(name, values)
            found[name] = found[name].union(now) if name in found else now
    if tensors and not found:
        raise InputError("Expected at least one calibration image, got none. Pass images, e.g. with `--calib DIR`.")
    return found


def _range(name: str, values: Floats) -> ChannelRange:
    positions = tuple(range(values.ndim - 1))
    low, high = values.min(axis=positions), values.max(axis=positions)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InputError(f"Tensor '{name}' is not finite on a calibration image. Check the preprocessing.")
    return ChannelRange(low=low, high=high)
