"""How little of a large picture a resize looks at: its matrices, found by impulses, and the leverage they give away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, UnsupportedError
from ..inputs.geometry import Window
from ..inputs.resize import RESIZERS, resize

Matrix = NDArray[np.float64]

VISIBLE = 1 / 510
"""A source pixel has weight where its whole range of 255 levels moves a result by half a level or more."""

_STEPS = np.arange(-90, 91)  # how far a row is moved, one step per column
_GREYS = (110, 147)  # the columns' levels: far enough from 0 and 255 for any step and kernel
_OUTPUTS = 16  # rows of the resized picture that leverage is measured on


@dataclass(frozen=True, kw_only=True)
class Leverage:
    """What a resize gives away to somebody who may change the large picture.

    Attributes:
        resizer: Its name.
        factor: Source pixels per resized pixel, in each direction.
        used: Share of the source's pixels that have weight.
        energy_ratio: Root mean square of the least change of the source over that of the change it causes in the
            resized picture, for changes without structure. Below 1 the attacker has leverage: a small change of the
            picture people see becomes a larger one of the picture the model sees.
        nonlinearity: Largest departure, in levels, of a resized noise picture from what the matrices say; up to 2 is
            rounding, more means that the resizer is no matrix and its figures are a fit.
    """

    resizer: str
    factor: int
    used: float
    energy_ratio: float
    nonlinearity: float

    def to_json(self) -> dict[str, Any]:
        """Give the figures as JSON data."""
        return asdict(self)


def resize_matrix(resizer: str, source: int, resized: int, *, top: int = 0, count: int | None = None) -> Matrix:
    """Find the matrix by which a resizer makes rows of a picture out of the source's rows.

    Each row in turn of a picture of grey noise is moved by many steps at once, one per column; the width stays. The
    weight is the slope of the result's change over the step. The noise keeps the rounding to whole levels from hiding
    small weights.

    Args:
        resizer: A name of ``RESIZERS``; whatever it runs is what is measured.
        source: Rows of the source, at least ``resized``.
        resized: Rows of the resized picture.
        top: First row of the resized picture that is wanted.
        count: How many are wanted; None for all.

    Returns:
        (count, source) float64, each weight within 0.001.

    Raises:
        InputError: If the resizer is unknown, or the picture would be enlarged.
        UnsupportedError: If the resizer's package is not installed.
    """
    if resized > source:
        raise InputError(f"Expected a resize to fewer rows, got {source} to {resized}. Only reductions give leverage.")
    window = Window(top=top, left=0, height=resized if count is None else count, width=_STEPS.size)
    noise = np.random.default_rng(0).integers(*_GREYS, (source, _STEPS.size, 1), dtype=np.uint8)
    picture = np.repeat(noise, 3, axis=2)

    def results() -> Matrix:
        found = resize(picture, height=resized, width=_STEPS.size, resizer=resizer, window=window)
        levels: Matrix = found.mean(axis=2)
        return levels

    before, matrix = results(), np.empty((window.height, source))
    for row in range(source):
        picture[row] = noise[row] + _STEPS[:, None]
        matrix[:, row] = (results() - before) @ _STEPS
        picture[row] = noise[row]
    weights: Matrix = matrix / matrix.sum(axis=1, keepdims=True)  # a resize leaves one grey that grey
    return weights


def leverage(resizer: str, factor: int) -> Leverage:
    """Measure a resizer at a whole reduction.

    With the one-dimensional matrix W, (n, m), the least change of the source that causes a change t of the result is
    ``W^T (W W^T)^-1 t``; for a t without structure its mean square is that of t times ``trace((W W^T)^-1) / m``. In two
    directions both the share used and the ratio are the squares of those in one.

    Args:
        resizer: A name of ``RESIZERS``.
        factor: Source pixels per resized pixel, at least 2.

    Raises:
        InputError: If the resizer is unknown, or the factor is below 2.
        UnsupportedError: If the resizer's package is not installed.

    Reference:
        Xiao et al. 2019 (USENIX Security), sec. 4; Quiring et al. 2020 (USENIX Security), sec. 3: the ratio of scaling
        and the kernel's width decide. The ratio of energies is ours.
    """
    if factor < 2:
        raise InputError(f"Expected a reduction of at least 2, got {factor}.")
    source = factor * _OUTPUTS
    matrix = resize_matrix(resizer, source, _OUTPUTS)
    one_way = float(np.trace(np.linalg.pinv(matrix @ matrix.T, rcond=1e-9))) / source
    used = float((np.abs(matrix).max(axis=0) >= VISIBLE).mean())
    return Leverage(
        resizer=resizer,
        factor=factor,
        used=used**2,
        energy_ratio=one_way,
        nonlinearity=_departure(resizer, matrix, source),
    )


def resizer_leverages(factors: Sequence[int]) -> tuple[list[Leverage], dict[str, str]]:
    """Measure every resizer there is at some reductions.

    Returns:
        The figures, and the resizers that cannot run here with the reason.
    """
    found, reasons = [], {}
    for resizer in RESIZERS:
        try:
            found += [leverage(resizer, factor) for factor in factors]
        except UnsupportedError as error:
            reasons[resizer] = str(error)
    return found, reasons


def _departure(resizer: str, matrix: Matrix, source: int) -> float:
    # Half the range, so that kernels with negative weights do not clip.
    noise = np.random.default_rng(0).integers(64, 192, (source, source, 3), dtype=np.uint8)
    found = resize(noise, height=_OUTPUTS, width=_OUTPUTS, resizer=resizer).astype(np.float64)
    expected = np.einsum("rs,stc,ut->ruc", matrix, noise, matrix, optimize=True)
    return float(np.abs(found - expected).max())
