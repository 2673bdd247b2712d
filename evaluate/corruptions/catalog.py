"""The corruptions by name, and the functions that run one. Adding a corruption is one file and one line here."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ...core.errors import InputError, UnsupportedError, unknown
from ...core.randomness import image_stream
from . import (
    blue_noise_sample,
    brightness,
    brownish_noise,
    caustic_refraction,
    checkerboard_cutout,
    cocentric_sine_waves,
    contrast,
    defocus_blur,
    elastic_transform,
    fog,
    frost,
    frost_procedural,
    gaussian_blur,
    gaussian_noise,
    glass_blur,
    impulse_noise,
    inverse_sparkles,
    jpeg,
    motion_blur,
    perlin_noise,
    pixelate,
    plasma_noise,
    saturate,
    shot_noise,
    single_frequency_greyscale,
    snow,
    sparkles,
    spatter,
    speckle_noise,
    zoom_blur,
)
from .parameters import ParameterSet, Pixels, default_parameters
from .protocol import Corruption

IMAGENET_C: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(draw=gaussian_noise.draw, apply=gaussian_noise.apply),
    "shot_noise": Corruption(draw=shot_noise.draw, apply=shot_noise.apply),
    "impulse_noise": Corruption(draw=impulse_noise.draw, apply=impulse_noise.apply),
    "defocus_blur": Corruption(apply=defocus_blur.apply),
    "glass_blur": Corruption(draw=glass_blur.draw, apply=glass_blur.apply),
    "motion_blur": Corruption(draw=motion_blur.draw, apply=motion_blur.apply),
    "zoom_blur": Corruption(apply=zoom_blur.apply),
    "snow": Corruption(draw=snow.draw, apply=snow.apply),
    "frost": Corruption(draw=frost.draw, apply=frost.apply),
    "fog": Corruption(draw=fog.draw, apply=fog.apply),
    "brightness": Corruption(apply=brightness.apply),
    "contrast": Corruption(apply=contrast.apply),
    "elastic_transform": Corruption(draw=elastic_transform.draw, apply=elastic_transform.apply),
    "pixelate": Corruption(apply=pixelate.apply),
    "jpeg": Corruption(apply=jpeg.apply),
}
"""The 15 of ImageNet-C, in its order; these and no others are behind a mean corruption error."""

EXTRA: Mapping[str, Corruption] = {
    "speckle_noise": Corruption(draw=speckle_noise.draw, apply=speckle_noise.apply),
    "gaussian_blur": Corruption(apply=gaussian_blur.apply),
    "spatter": Corruption(draw=spatter.draw, apply=spatter.apply),
    "saturate": Corruption(apply=saturate.apply),
}
"""The four that ImageNet-C's authors keep for validation."""

IMAGENET_C_BAR: Mapping[str, Corruption] = {
    "blue_noise_sample": Corruption(draw=blue_noise_sample.draw, apply=blue_noise_sample.apply),
    "plasma_noise": Corruption(draw=plasma_noise.draw, apply=plasma_noise.apply),
    "checkerboard_cutout": Corruption(draw=checkerboard_cutout.draw, apply=checkerboard_cutout.apply),
    "cocentric_sine_waves": Corruption(draw=cocentric_sine_waves.draw, apply=cocentric_sine_waves.apply),
    "single_frequency_greyscale": Corruption(
        draw=single_frequency_greyscale.draw, apply=single_frequency_greyscale.apply
    ),
    "brownish_noise": Corruption(draw=brownish_noise.draw, apply=brownish_noise.apply),
    "perlin_noise": Corruption(draw=perlin_noise.draw, apply=perlin_noise.apply),
    "sparkles": Corruption(draw=sparkles.draw, apply=sparkles.apply),
    "inverse_sparkles": Corruption(draw=inverse_sparkles.draw, apply=inverse_sparkles.apply),
    "caustic_refraction": Corruption(draw=caustic_refraction.draw, apply=caustic_refraction.apply),
}
"""The ten of ImageNet-C-bar, chosen for being unlike those of ImageNet-C; their errors have a mean of their own.

Five of them are in CIFAR-10-C-bar too, with its levels; for the others ``cifar10-c`` has every second of the ten levels
that the authors looked at on CIFAR-10. Lengths go with the longer side, which is 224 or 32 pixels there.

Reference:
    Mintun, Kirillov & Xie 2021, arXiv 2102.11273, and their code.
"""

CORRUPTIONS: Mapping[str, Corruption] = {
    **IMAGENET_C,
    **EXTRA,
    **IMAGENET_C_BAR,
    "frost_procedural": Corruption(draw=frost_procedural.draw, apply=frost_procedural.apply),
}
"""Corruption name to its two halves."""


def find_corruption(name: str, *, frost_dir: Path | None = None) -> Corruption:
    """Look a corruption up.

    Args:
        name: A name of ``CORRUPTIONS``.
        frost_dir: Folder with the photographs for ``frost``, or None for those of an installed imagecorruptions.

    Raises:
        InputError: If there is no such corruption.
    """
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    found = CORRUPTIONS[name]
    return replace(found, draw=partial(frost.draw, folder=frost_dir)) if name == "frost" else found


def missing(name: str, *, frost_dir: Path | None = None) -> str:
    """Say why a corruption can't be made here; empty where it can.

    Raises:
        InputError: If a folder is named and holds no photographs.
    """
    if name != "frost":
        return ""
    try:
        frost.textures_sha256(frost_dir)
    except UnsupportedError as error:
        return str(error)
    return ""


def corrupt(
    image: Pixels,
    name: str,
    *,
    severity: int,
    seed: int = 0,
    parameters: ParameterSet | None = None,
    frost_dir: Path | None = None,
) -> Pixels:
    """Corrupt one image; the same arguments give the same bytes anywhere.

    The random stream belongs to the image's pixels, so it does not depend on what else is corrupted, or when.

    Args:
        image: (H, W, 3) uint8 RGB, any size from 1 x 1.
        name: A name of ``CORRUPTIONS``.
        severity: 1 (mild) to 5.
        seed: Any integer.
        parameters: ``"imagenet-c"`` or ``"cifar10-c"``; chosen by ``default_parameters`` when left out.
        frost_dir: Folder with the photographs for ``frost``, or None for those of an installed imagecorruptions.

    Returns:
        (H, W, 3) uint8; ``image`` is not changed.

    Raises:
        InputError: If the image is none, or name, severity or parameter set do not exist.
        UnsupportedError: If ``frost`` has no photographs.

    Example:
        >>> corrupt(np.zeros((2, 2, 3), np.uint8), "brightness", severity=1, parameters="imagenet-c")[0, 0]
        array([25, 25, 25], dtype=uint8)
    """
    _check_image(image)
    chosen = default_parameters(image.shape[0], image.shape[1]) if parameters is None else parameters
    corruption = find_corruption(name, frost_dir=frost_dir)
    image = np.ascontiguousarray(image)
    if corruption.draw is None:
        return corruption.apply(image, (), severity, chosen)
    rng = image_stream(seed, corruption_task(name, severity, chosen), _fingerprint(image))
    return _corrupt(corruption, image, severity, rng, chosen)


def corrupt_with(
    image: Pixels,
    name: str,
    severity: int,
    rng: np.random.Generator,
    parameters: ParameterSet,
    *,
    frost_dir: Path | None = None,
) -> Pixels:
    """Corrupt one image with random numbers from a stream of the caller's, which is advanced; see ``corrupt``.

    Raises:
        InputError: If the image is none, or name, severity or parameter set do not exist.
        UnsupportedError: If ``frost`` has no photographs.
    """
    _check_image(image)
    corruption = find_corruption(name, frost_dir=frost_dir)
    return _corrupt(corruption, np.ascontiguousarray(image), severity, rng, parameters)


def corruption_task(name: str, severity: int, parameters: ParameterSet) -> str:
    """Name a corruption at one severity, for random streams and for results: every severity draws anew."""
    return f"{name}:severity={severity},parameters={parameters}"


def _corrupt(
    corruption: Corruption, image: Pixels, severity: int, rng: np.random.Generator, parameters: ParameterSet
) -> Pixels:
    draws = () if corruption.draw is None else corruption.draw(rng, image.shape, severity, parameters)
    return corruption.apply(image, draws, severity, parameters)


def _fingerprint(image: Pixels) -> str:
    """Give a 64-bit checksum of the pixels: in a fifth of the time of a hash, as half of the corruptions take no more.

    Two images with the same checksum would be given the same noise, and that is all.
    """
    return f"{zlib.crc32(image.data):08x}{zlib.adler32(image.data):08x}"


def _check_image(image: Pixels) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"Expected an image (H, W, 3) uint8, got {image.shape} {image.dtype}. Convert it first.")
