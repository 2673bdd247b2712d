"""The random numbers that the published code would have drawn, in its order, from NumPy's legacy stream.

For parity: with ``draws = legacy_draws(name, np.random.RandomState(s), image, ...)`` a corruption gives what the
published code gives after ``np.random.seed(s)``. Experiments use ``corrupt``, whose streams belong to the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...core.errors import unknown
from . import fog, frost, glass_blur, impulse_noise, motion_blur, shot_noise, snow
from .catalog import CORRUPTIONS, IMAGENET_C_BAR
from .legacy_c_bar import c_bar_draws
from .numbers import CODES
from .parameters import Draws, ParameterSet, Pixels, at_severity


def legacy_draws(
    name: str,
    state: np.random.RandomState,
    image: Pixels,
    severity: int,
    parameters: ParameterSet,
    *,
    frost_dir: Path | None = None,
) -> Draws:
    """Draw what the published code draws for one image.

    Args:
        name: A name of ``CORRUPTIONS``, but ``frost_procedural``, which has no published code.
        state: Where the numbers come from; advanced.
        image: (H, W, 3) uint8 RGB.
        severity: 1 to 5.
        parameters: Parameter set.
        frost_dir: Folder with the photographs for ``frost``, or None for those of an installed imagecorruptions.

    Returns:
        What the corruption's ``apply`` takes.

    Raises:
        InputError: If there is no such corruption, severity or parameter set, or one of ImageNet-C-bar is asked for an
            image that is no square.
        UnsupportedError: If ``frost`` has no photographs.
    """
    height, width = image.shape[:2]
    match name:
        case "gaussian_noise" | "speckle_noise":
            return (state.standard_normal(image.shape),)
        case "shot_noise":
            photons = at_severity(shot_noise.PHOTONS, severity, parameters)
            return (state.poisson(image / 255.0 * photons),)
        case "impulse_noise":
            return _impulses(state, image.shape, at_severity(impulse_noise.AMOUNT, severity, parameters))
        case "glass_blur":
            return _displacements(state, image.shape, at_severity(glass_blur.GLASS, severity, parameters))
        case "motion_blur":
            return (state.uniform(-motion_blur.MAX_ANGLE, motion_blur.MAX_ANGLE, size=1),)
        case "snow":
            return state.standard_normal((height, width)), state.uniform(snow.STEEPEST, snow.FLATTEST, size=1)
        case "frost":
            return _frost(state, image.shape, parameters, frost_dir)
        case "fog":
            return (state.random_sample(fog.map_side(height, width) ** 2 - 1),)
        case "elastic_transform":
            return state.random_sample((3, 2)), state.random_sample((2, height, width))
        case "spatter":
            return (state.standard_normal((height, width)),)
        case _ if name in IMAGENET_C_BAR:
            return c_bar_draws(name, state, image.shape)
        case _ if name in CORRUPTIONS and CORRUPTIONS[name].draw is None:
            return ()
    raise unknown("corruption with published code", name, set(CORRUPTIONS) - {"frost_procedural"})


def _impulses(state: np.random.RandomState, shape: tuple[int, ...], amount: float) -> Draws:
    """Write hits and their colours as the codes that stand for them."""
    hit, white = state.random_sample(shape) <= amount, state.random_sample(shape) <= 0.5
    return (np.where(hit, np.where(white, CODES - 1, 0), CODES // 2).astype(np.uint16),)


def _displacements(state: np.random.RandomState, shape: tuple[int, ...], glass: glass_blur.Glass) -> Draws:
    """Draw for pixels from the last to the first, as the published loop does."""
    drawn = state.randint(-glass.reach, glass.reach, size=(*glass_blur.displaced_shape(glass, shape), 2))
    return (drawn[:, ::-1, ::-1].astype(np.int8),)


def _frost(
    state: np.random.RandomState, shape: tuple[int, ...], parameters: ParameterSet, folder: Path | None
) -> Draws:
    textures = frost.frost_textures(folder or frost.installed_folder(), frost.SCALE[parameters])
    texture = textures[state.randint(len(textures))]
    top = state.randint(0, texture.shape[0] - shape[0])
    left = state.randint(0, texture.shape[1] - shape[1])
    return (texture[top : top + shape[0], left : left + shape[1]],)
