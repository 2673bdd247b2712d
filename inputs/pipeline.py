"""The frozen description of a deployment's preprocessing, and its two steps: bytes to uint8, uint8 to tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, UnsupportedError, unknown
from ..core.files import sha256_json
from .camera import CAMERAS, NO_CAMERA, photograph
from .decode import DECODERS, decode
from .exif import EXIF_POLICIES
from .geometry import CROP_ROUNDINGS, GEOMETRIES, LETTERBOX_FILLS, SIZE_ROUNDINGS, Layout, Places, lay_out
from .resize import RESIZERS, resize
from .tensors import arranged, looked_up

Triple = tuple[float, float, float]

MAX_SIDE = 8192


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What happens to an image between its file and the engine.

    Attributes:
        name: What reports call it.
        decoder: A name of ``DECODERS``, e.g. ``"pillow"``.
        colour: ``"rgb"`` or ``"bgr"``: the channel order the engine gets.
        resize: A name of ``RESIZERS``, e.g. ``"pillow-bilinear"``.
        geometry: A name of ``GEOMETRIES``: ``"short-side-crop"`` (aspect ratio kept), ``"squash"``, or
            ``"letterbox-black"`` or ``"letterbox-grey"`` (aspect ratio kept, nothing cut, a border instead).
        crop_fraction: Share of the resized side that is kept, in (0, 1]; 0.875 is 224 of 256.
        size: The model's (height, width).
        mean: Per channel in the engine's order, pixel scale [0, 1].
        std: Likewise; ``x / 127.5 - 1`` is mean 0.5, std 0.5.
        layout: ``"nchw"`` or ``"nhwc"``.
        dtype: ``"float32"`` or ``"float16"`` (normalised), or ``"uint8"`` (pixels as they are; mean and std are not
            used).
        reduced_decoding: Whether a JPEG is decoded at 1/2, 1/4 or 1/8, as long as it stays as large as the resize
            wants it. Its geometry is then that of the reduced image.
        size_rounding: ``"int"`` (torchvision's), ``"round"`` or ``"ceil"``: how the side that follows from the aspect
            ratio becomes whole.
        crop_rounding: ``"half-even"`` (torchvision's), ``"floor"`` or ``"ceil"``: how the window's offset does.
        exif: ``"ignored"`` or ``"applied"``: whether images are turned as the camera's orientation tag says.
        camera: ``"none"``, or a name of ``CAMERAS``, whose YUV memory the decoded image passes before its resize.

    Raises:
        InputError: If a value is not one of these.
    """

    name: str
    decoder: str
    colour: str
    resize: str
    geometry: str
    crop_fraction: float
    size: tuple[int, int]
    mean: Triple
    std: Triple
    layout: str = "nchw"
    dtype: str = "float32"
    reduced_decoding: bool = False
    exif: str = "ignored"
    camera: str = NO_CAMERA
    size_rounding: str = "int"
    crop_rounding: str = "half-even"

    def __post_init__(self) -> None:
        _check_choice("decoder", self.decoder, DECODERS)
        _check_choice("colour", self.colour, ("bgr", "rgb"))
        _check_choice("resizer", self.resize, RESIZERS)
        _check_choice("geometry", self.geometry, GEOMETRIES)
        _check_choice("layout", self.layout, ("nchw", "nhwc"))
        _check_choice("dtype", self.dtype, ("float16", "float32", "uint8"))
        _check_choice("EXIF policy", self.exif, EXIF_POLICIES)
        _check_choice("camera", self.camera, [NO_CAMERA, *CAMERAS])
        _check_choice("size rounding", self.size_rounding, SIZE_ROUNDINGS)
        _check_choice("crop rounding", self.crop_rounding, CROP_ROUNDINGS)
        _check_numbers(self)

    def load(self, content: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring one image to the model's size, as the uint8 the attacker and the corruptions work on.

        Args:
            content: An image file, or decoded (H, W, 3) uint8 RGB, which skips the decoder.

        Returns:
            (height, width, 3) uint8 RGB whatever ``colour`` is, C-contiguous and writable, never ``content``.

        Raises:
            InputError: If the file does not decode, the array is no image, or the image is too narrow to resize.
            UnsupportedError: If the decoder's or the resizer's package is not installed.
        """
        image = self.decode(content) if isinstance(content, bytes) else _checked_pixels(content)
        image = photograph(image, self.camera)
        layout = self._lay_out(image.shape[:2])
        window = layout.window(self.size)
        image = resize(image, height=layout.height, width=layout.width, resizer=self.resize, window=window)
        if self.geometry in LETTERBOX_FILLS:
            return _bordered(image, layout, self.size, LETTERBOX_FILLS[self.geometry])
        return np.array(image, order="C")

    def decode(self, content: bytes) -> NDArray[np.uint8]:
        """Decode an image file as the deployment does, before its camera and its resize.

        Args:
            content: A JPEG, PNG, BMP or WebP file.

        Returns:
            (H, W, 3) uint8 RGB, C-contiguous.

        Raises:
            InputError: If the file does not decode.
            UnsupportedError: If the decoder's package is not installed.
        """
        resized = self._resized if self.reduced_decoding else None
        return decode(content, decoder=self.decoder, exif=self.exif, resized=resized)

    def places(self, image_size: tuple[int, int]) -> tuple[Places, Places]:
        """Give for each row and column of a decoded image that of the model's into which it falls; see `Layout`."""
        return self._lay_out(image_size).places(image_size, self.size)

    def _resized(self, image_size: tuple[int, int]) -> tuple[int, int]:
        layout = self._lay_out(image_size)
        return layout.height, layout.width

    def _lay_out(self, image_size: tuple[int, int]) -> Layout:
        return lay_out(
            image_size,
            self.size,
            geometry=self.geometry,
            crop_fraction=self.crop_fraction,
            size_rounding=self.size_rounding,
            crop_rounding=self.crop_rounding,
        )

    def tensor(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Give what the engine takes for images of the model's size.

        Each value is ``dtype((pixel / 255 - mean) / std)`` computed in float64 and looked up, so it is the correctly
        rounded one; a float32 multiply-add is no faster here and loses digits near the mean.

        Args:
            images: (N, H, W, 3) uint8 RGB; any N, any size.

        Returns:
            (N, 3, H, W), or (N, H, W, 3) for ``nhwc``, channels in the order of ``colour``, of type ``dtype``;
            C-contiguous.

        Raises:
            InputError: If ``images`` has another shape or dtype.
        """
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise InputError(
                f"Expected images (N, H, W, 3) uint8, got {images.shape} {images.dtype}. Use `load` first."
            )
        images = np.ascontiguousarray(images[..., ::-1] if self.colour == "bgr" else images)
        if self.dtype == "uint8" or not images.size:
            return arranged(images, self.layout).astype(self.dtype, order="C", copy=False)
        return looked_up(images, self._table, self.layout)

    @cached_property
    def _table(self) -> NDArray[Any]:
        pixels = np.arange(256, dtype=np.float64) / 255
        table: NDArray[np.float64] = (pixels - np.array(self.mean)[:, None]) / np.array(self.std)[:, None]
        return table.astype(self.dtype)

    @property
    def emulates(self) -> str:
        """Say which library's resizer is copied here, and how close; empty where the library itself resizes."""
        return RESIZERS[self.resize].emulates

    @property
    def missing(self) -> str:
        """Say which package the pipeline lacks here and how to install it; empty where it runs."""
        file = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
        try:
            self.for_size(4, 4).load(file)
        except UnsupportedError as error:
            return str(error)
        return ""

    def for_size(self, height: int, width: int) -> Pipeline:
        """Give the same pipeline for a model of another input size."""
        return replace(self, size=(height, width))

    def with_geometry_of(self, other: Pipeline) -> Pipeline:
        """Give the pipeline of a deployment that prepares images as ``other`` and feeds this pipeline's model.

        Decoder, EXIF policy, camera, resizer, geometry, crop and roundings come from ``other``; size, channel order,
        mean, std, layout and dtype, which the model fixes, stay. The name is ``other/self``.
        """
        return replace(
            other,
            name=f"{other.name}/{self.name}",
            size=self.size,
            colour=self.colour,
            mean=self.mean,
            std=self.std,
            layout=self.layout,
            dtype=self.dtype,
        )

    def to_json(self) -> dict[str, Any]:
        """Give the pipeline as a JSON object that ``from_mapping`` reads back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @property
    def fingerprint(self) -> str:
        """Give the SHA-256 of all settings but the name: equal fingerprints prepare images equally."""
        return sha256_json({key: value for key, value in self.to_json().items() if key != "name"})

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Pipeline:
        """Read a pipeline from a card or a TOML table.

        Args:
            values: One entry per attribute; those with a default may be left out, ``size`` may be one number.

        Raises:
            InputError: If an entry is unknown, missing or of the wrong kind.
        """
        for key in values:
            _check_choice("preset entry", str(key), [field.name for field in fields(cls)])
        missing = [field.name for field in fields(cls) if field.name not in values and field.default is MISSING]
        if missing:
            raise InputError(f"A preset lacks `{'`, `'.join(missing)}`. Add it, or name a `base` preset to start from.")
        return cls(**{key: _entry(key, value) for key, value in values.items()})


def _bordered(image: NDArray[np.uint8], layout: Layout, size: tuple[int, int], fill: int) -> NDArray[np.uint8]:
    top, left = max(-layout.top, 0), max(-layout.left, 0)
    bordered = np.full((*size, 3), fill, np.uint8)
    bordered[top : top + image.shape[0], left : left + image.shape[1]] = image
    return bordered


def _checked_pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"Expected pixels (H, W, 3) uint8, got {image.shape} {image.dtype}. Convert them first.")
    return np.ascontiguousarray(image)


def _check_choice(kind: str, value: Any, known: Any) -> None:
    if value not in tuple(known):
        raise unknown(kind, str(value), known)


def _check_numbers(pipeline: Pipeline) -> None:
    if not 0 < pipeline.crop_fraction <= 1:
        raise InputError(f"Expected `crop_fraction` in (0, 1], got {pipeline.crop_fraction}. Use 0.875 for 224 of 256.")
    if not all(1 <= side <= MAX_SIDE for side in pipeline.size):
        raise InputError(f"Expected `size` in 1..{MAX_SIDE}, got {pipeline.size}. Give the model's height and width.")
    if not all(math.isfinite(value) for value in (*pipeline.mean, *pipeline.std)) or min(pipeline.std) <= 0:
        raise InputError(
            f"Expected finite `mean` and positive `std`, got {pipeline.mean} and {pipeline.std}. "
            "Both are in pixel scale [0, 1]."
        )


def _entry(key: str, value: Any) -> Any:
    try:
        if key == "size":
            height, width = (value, value) if isinstance(value, int) else value
            return _whole(height), _whole(width)
        if key in ("mean", "std"):
            first, second, third = ([value] * 3) if isinstance(value, int | float) else value
            return float(first), float(second), float(third)
        if key == "reduced_decoding":
            return _truth(value)
        return float(value) if key == "crop_fraction" else str(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"Preset entry `{key}` cannot be {value!r}: {error}. See the presets for examples.") from error


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("it is either true or false")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value
