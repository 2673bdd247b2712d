"""Per-channel extremes of activations, streamed: memory does not grow with the number of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx

from ..core.errors import InputError
from .graph import model_input
from .histogram import Floats
from .probe import open_session


def channel_magnitudes(model: onnx.ModelProto, batches: Iterable[Floats], tensors: Sequence[str]) -> dict[str, Floats]:
    """Give the largest magnitude of each channel, the last axis, over all images and positions.

    Args:
        model: A float classifier with one image input; not changed.
        batches: (n, ...) float32 arrays as the model takes them; consumed once, one at a time.
        tensors: Activations with a fixed last axis, the (N, tokens, channels) of a transformer for instance.

    Returns:
        Tensor name to (channels,) float32, non-negative.

    Raises:
        InputError: If there is no image, or an activation is not finite.
        UnsupportedError: If ONNX Runtime is not installed.
    """
    session, source = open_session(model, tuple(tensors)), model_input(model).name
    found: dict[str, Floats] = {}
    for batch in batches:
        for name, values in zip(tensors, session.run(list(tensors), {source: batch}), strict=True):
            now = np.abs(values).max(axis=tuple(range(values.ndim - 1)), initial=0)
            if not np.isfinite(now).all():
                raise InputError(f"Tensor '{name}' is not finite on a calibration image. Check the preprocessing.")
            found[name] = np.maximum(found[name], now) if name in found else now
    if tensors and not found:
        raise InputError("Expected at least one calibration image, got none. Pass images, e.g. with `--calib DIR`.")
    return found
