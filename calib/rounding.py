"""Rounding weights by what it does to the layer's output: second order, from the moments of the layer's input.

Both ways minimise ``(w - q) H (w - q)`` for every row ``w`` of the weight, H the second moments of the input: the mean
squared error of the layer's output over the calibration images. Nothing here looks at images; `gram.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.codes import WeightCodes, level_limit
from ..core.errors import InputError
from .layers import Doubles, Floats, from_rows, to_rows
from .weight_scales import mse_scales

DAMPING = 0.01
"""Share of the mean diagonal that is added to H, as in the paper's code; keeps inputs never seen from mattering not."""

_BLOCK = 128
_SWEEPS = 50
_MOST_IN_PAIRS = (
    32  # depthwise layers, where pairs lower the error by a quarter; by 2 % at K = 576, for 200 times the time
)
_WORTH = 1e-9  # of the scale of the terms: below it a gain may be float64's rounding, and the descent might not end


def gptq(
    weight: Floats,
    gram: Doubles,
    bits: int,
    axis: int,
    *,
    scales: Floats | None = None,
    damping: float = DAMPING,
    by_diagonal: bool = True,
) -> WeightCodes:
    """Round a weight column by column, each column making up for the rounding of those before it.

    Args:
        weight: float32 in its own shape.
        gram: (groups, K, K) float64, second moments of the layer's input as `gram.py` gives them.
        bits: Width of the grid, 2..8.
        axis: The axis that counts output channels.
        scales: (channels,) float32; None for `mse_scales`.
        damping: Added to the diagonal, as a share of its mean, >= 0.
        by_diagonal: Round the columns with the largest moments first, rather than in order.

    Returns:
        The codes.

    Raises:
        InputError: If the moments do not fit the weight, or a value is not finite.

    Reference:
        Frantar et al. 2022, arXiv 2210.17323, Algorithm 1; the order is their ``act-order``.
    """
    rows = _rows(weight, gram, axis)
    chosen = mse_scales(weight, bits, axis) if scales is None else scales
    steps = chosen.astype(np.float64).reshape(rows.shape[:2])
    codes = gptq_rows(rows, damped(gram, damping), steps, level_limit(bits), by_diagonal=by_diagonal)
    return _packed(codes, chosen, weight.shape, axis, bits)


def refine(
    codes: WeightCodes, weight: Floats, gram: Doubles, *, damping: float = DAMPING, rescale: bool = True
) -> WeightCodes:
    """Change single codes, and the scales, as long as that lowers the error of the layer's output.

    Args:
        codes: Where to start; their own error is never exceeded.
        weight: float32, what the codes stand for, or what they should stand for on a changed input.
        gram: (groups, K, K) float64, second moments of the layer's input.
        damping: Added to the diagonal, as a share of its mean, >= 0.
        rescale: Choose the scales anew for the codes found, and the codes for these, until both rest.

    Returns:
        Codes that no change of a single code improves, nor, for K up to 32, one of a code by one and another with it.

    Raises:
        InputError: If the moments do not fit the weight.

    Reference:
        The objective is Nagel et al. 2020 (AdaRound), arXiv 2004.10568, eq. 13; the way down is coordinate descent
        instead of their relaxation, and a code may move by more than one.
    """
    rows = _rows(weight, gram, codes.axis)
    levels = to_rows(codes.codes, codes.axis, len(gram)).astype(np.float64)
    steps = codes.scales.astype(np.float64).reshape(rows.shape[:2])
    moments = damped(gram, damping)
    rest = refine_rows(levels, rows, moments, steps, level_limit(codes.bits), rescale=rescale)
    return _packed(rest.levels, rest.steps.reshape(-1).astype(np.float32), weight.shape, codes.axis, codes.bits)


def damped(gram: Doubles, damping: float) -> Doubles:
    """Add ``damping`` times the mean diagonal of each group to its diagonal; a group of zeros becomes the identity.

    Inputs that are zero on every image get the mean too, so that their weights are rounded to the nearest.
    """
    mean = np.einsum("gkk->g", gram) / gram.shape[-1]
    added = np.where(mean > 0, damping * mean, 1.0)
    return gram + added[:, None, None] * np.eye(gram.shape[-1])


def output_error(difference: Doubles, gram: Doubles) -> Doubles:
    """Compute the mean squared error of each output channel that a change of the weights causes.

    Args:
        difference: (groups, channels, K), change of the weights.
        gram: (groups, K, K), second moments of the input.

    Returns:
        (groups, channels) float64.
    """
    return np.asarray(np.einsum("grk,grk->gr", difference @ gram, difference))


def gptq_rows(rows: Doubles, moments: Doubles, steps: Doubles, limit: int, *, by_diagonal: bool = True) -> Doubles:
    """Do what `gptq` does on (groups, channels, K) rows with (groups, K, K) damped moments; give the codes."""
    groups, _, size = rows.shape
    diagonal = np.einsum("gkk->gk", moments)
    order = np.argsort(-diagonal, axis=1, kind="stable") if by_diagonal else np.tile(np.arange(size), (groups, 1))
    work = np.take_along_axis(rows, order[:, None, :], axis=2)
    sorted_moments = moments[np.arange(groups)[:, None, None], order[:, :, None], order[:, None, :]]
    factor = _inverse_factor(sorted_moments)
    codes = np.empty_like(work)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        errors = np.empty((*work.shape[:2], end - start))
        for column in range(start, end):
            now = work[:, :, column]
            code = np.clip(np.rint(now / steps), -limit, limit)
            error = (now - code * steps) / factor[:, None, column, column]
            work[:, :, column:end] -= error[:, :, None] * factor[:, None, column, column:end]
            codes[:, :, column], errors[:, :, column - start] = code, error
        work[:, :, end:] -= errors @ factor[:, start:end, end:]
    back = np.empty_like(codes)
    np.put_along_axis(back, np.broadcast_to(order[:, None, :], codes.shape), codes, axis=2)
    return back


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """Codes and steps of (groups, channels, K) rows.

    Attributes:
        levels: (groups, channels, K) float64, whole numbers.
        steps: (groups, channels) float64.
    """

    levels: Doubles
    steps: Doubles


def refine_rows(
    levels: Doubles, rows: Doubles, moments: Doubles, steps: Doubles, limit: int, *, rescale: bool = True
) -> Rounded:
    """Do what `refine` does on (groups, channels, K) rows with (groups, K, K) damped moments."""
    levels = levels.copy()
    pull = rows @ moments
    for _ in range(_SWEEPS):
        if rescale:
            steps = _best_steps(levels, pull, moments, steps)
        if _sweep(levels, pull, moments, steps, limit):
            continue
        if levels.shape[2] > _MOST_IN_PAIRS or not _pair_sweep(levels, pull, moments, steps, limit):
            break
    return Rounded(levels=levels, steps=steps)


def _sweep(levels: Doubles, pull: Doubles, moments: Doubles, steps: Doubles, limit: int) -> bool:
    """Set each code in turn to its best value given the others, in place; say whether one changed."""
    slope = (levels * steps[:, :, None]) @ moments - pull
    changed = False
    for column in range(levels.shape[2]):
        curvature = moments[:, column, column][:, None] * steps
        wanted = np.clip(np.rint(levels[:, :, column] - slope[:, :, column] / curvature), -limit, limit)
        move = wanted - levels[:, :, column]
        group, row = np.nonzero(move)
        if group.size:
            levels[group, row, column] = wanted[group, row]
            slope[group, row] += (move * steps)[group, row, None] * moments[group, column]
            changed = True
    return changed


def _pair_sweep(levels: Doubles, pull: Doubles, moments: Doubles, steps: Doubles, limit: int) -> bool:
    """Move each code in turn up and down by one together with the best answer of one other code, where that pays."""
    slope = (levels * steps[:, :, None]) @ moments - pull
    diagonal = np.einsum("gkk->gk", moments)[:, None, :]
    size, changed = steps[:, :, None], False
    for column in range(levels.shape[2]):
        options = [
            _answer(levels, slope, moments[:, column][:, None, :], diagonal, size, limit, column, sign)
            for sign in (1.0, -1.0)
        ]
        up = options[0].gain > options[1].gain
        gain, partner, move = (
            np.where(up, getattr(options[0], name), getattr(options[1], name)) for name in ("gain", "partner", "move")
        )
        group, row = np.nonzero(gain > _WORTH * np.abs(pull[:, :, column] * steps))
        if group.size:
            sign, other = np.where(up, 1.0, -1.0)[group, row], partner[group, row].astype(np.intp)
            levels[group, row, column] += sign
            levels[group, row, other] += move[group, row]
            step = steps[group, row][:, None]
            slope[group, row] += step * sign[:, None] * moments[group, column]
            slope[group, row] += step * move[group, row][:, None] * moments[group, other]
            changed = True
    return changed


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What the best second move brings, for each (group, row)."""

    gain: Doubles
    partner: Doubles
    move: Doubles


def _answer(
    levels: Doubles,
    slope: Doubles,
    coupling: Doubles,
    diagonal: Doubles,
    size: Doubles,
    limit: int,
    column: int,
    sign: float,
) -> _Answer:
    moved = slope + sign * size * coupling
    answers = np.clip(np.rint(levels - moved / (diagonal * size)), -limit, limit) - levels
    cost = size * answers * (2 * moved + size * answers * diagonal)
    cost[:, :, column] = np.inf
    partner = cost.argmin(axis=2)[:, :, None]
    own = sign * size[:, :, 0] * (2 * slope[:, :, column] + sign * size[:, :, 0] * diagonal[:, :, column])
    allowed = np.abs(levels[:, :, column] + sign) <= limit
    total = own + np.take_along_axis(cost, partner, axis=2)[:, :, 0]
    return _Answer(
        gain=np.where(allowed, -total, -np.inf),
        partner=partner[:, :, 0].astype(np.float64),
        move=np.take_along_axis(answers, partner, axis=2)[:, :, 0],
    )


def _best_steps(levels: Doubles, pull: Doubles, moments: Doubles, steps: Doubles) -> Doubles:
    """Give the step with the least error for the codes: (w H c) / (c H c), where that is positive."""
    power = output_error(levels, moments)
    overlap = np.einsum("grk,grk->gr", pull, levels)
    usable = (power > 0) & (overlap > 0)
    best = np.where(usable, overlap / np.where(usable, power, 1.0), steps)
    return best.astype(np.float32).astype(np.float64)  # what the file will hold


def _inverse_factor(moments: Doubles) -> Doubles:
    """Give the upper Cholesky factor U of each inverse, H**-1 = U.T U."""
    inverse = np.linalg.inv(moments)
    return np.swapaxes(np.linalg.cholesky((inverse + np.swapaxes(inverse, 1, 2)) / 2), 1, 2)


def _rows(weight: Floats, gram: Doubles, axis: int) -> Doubles:
    if gram.ndim != 3 or weight.shape[axis] % len(gram) or weight.size != weight.shape[axis] * gram.shape[2]:
        raise InputError(
            f"Expected moments of shape (groups, K, K) for a weight of shape {weight.shape} with channels on axis "
            f"{axis}, got {gram.shape}. Take them from `layer_moments` of the same layer."
        )
    if not (np.isfinite(weight).all() and np.isfinite(gram).all()):
        raise InputError("Expected finite weights and moments, got NaN or infinity. Check the calibration images.")
    return np.asarray(to_rows(weight.astype(np.float64), axis, len(gram)))


def _packed(levels: Doubles, scales: Floats, shape: tuple[int, ...], axis: int, bits: int) -> WeightCodes:
    return WeightCodes(codes=from_rows(levels.astype(np.int8), shape, axis), scales=scales, axis=axis, bits=bits)
