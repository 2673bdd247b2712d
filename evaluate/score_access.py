"""What an attacker sees of an engine's output, from raw logits down to the bare label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, unknown
from ..engines.protocol import OutputKind

ScoreAccess = Literal["logits", "probabilities", "uint8-scores", "rounded-2", "label"]
SCORE_ACCESS: tuple[ScoreAccess, ...] = get_args(ScoreAccess)

Floats = NDArray[np.float32]

# A uint8 softmax output has scale 1/256 and zero point 0 in TensorFlow Lite's quantization specification.
_UINT8_STEPS = 256

# What each kind of output can be coarsened to. The scale of an engine's own uint8 scores is not known here.
_OFFERED: Mapping[OutputKind, tuple[ScoreAccess, ...]] = {
    "logits": SCORE_ACCESS,
    "probabilities": ("probabilities", "uint8-scores", "rounded-2", "label"),
    "uint8-scores": ("uint8-scores", "label"),
}


def check_access(access: str, output_kind: OutputKind) -> None:
    """Refuse an access level that this engine cannot give.

    Args:
        access: One of ``SCORE_ACCESS``.
        output_kind: What the engine puts out.

    Raises:
        InputError: If ``access`` is unknown, or finer than what leaves the engine.
    """
    if access not in SCORE_ACCESS:
        raise unknown("score access", access, SCORE_ACCESS)
    offered = _OFFERED[output_kind]
    if access not in offered:
        raise InputError(
            f"Score access '{access}' is finer than the {output_kind} this engine puts out. "
            f"Use one of: {', '.join(offered)}."
        )


def seen_by_attacker(outputs: Floats, access: ScoreAccess, *, output_kind: OutputKind = "logits") -> Floats:
    """Give what the attacker sees of each row of the engine's output.

    Args:
        outputs: (N, C) float32, finite, of the kind ``output_kind``.
        access: ``"logits"``: the output as it is. ``"probabilities"``: its softmax. ``"uint8-scores"``: probabilities
            as a uint8 output with step 1/256, values 0..255. ``"rounded-2"``: probabilities with two decimals.
            ``"label"``: one for the production argmax, zero elsewhere, so that every right answer is one plateau.
        output_kind: What ``outputs`` are; no second softmax is taken of probabilities, and scores that leave the engine
            as uint8 stay as they are.

    Returns:
        (N, C) float32; rows do not depend on each other.
    """
    if access in ("logits", output_kind):
        return outputs
    if access == "label":
        seen = np.zeros_like(outputs)
        seen[np.arange(len(outputs)), outputs.argmax(axis=1)] = 1
        return seen
    probabilities = outputs if output_kind == "probabilities" else _softmax(outputs)
    if access == "uint8-scores":
        levels: Floats = np.rint(probabilities * np.float32(_UINT8_STEPS))
        return np.minimum(levels, np.float32(_UINT8_STEPS - 1))
    if access == "rounded-2":
        hundredths: Floats = np.rint(probabilities * np.float32(100)) / np.float32(100)
        return hundredths
    return probabilities


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
