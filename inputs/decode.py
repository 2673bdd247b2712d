"""Stored bytes to pixels. What a container is and what is cut from it lives in ``containers.py``.

One policy for all decoders:

- JPEG, PNG, BMP and WebP, recognised by content, never by name; the size in the header is checked first.
- EXIF orientation is ignored, or applied to the decoded pixels, the same way behind every decoder.
- Grey, palette and CMYK images become RGB; ICC profiles are ignored.
- Alpha is dropped, not blended, as torchvision and OpenCV do.
- 16-bit samples keep their high byte. Of an animation, the default (first) image counts.
- ``turbo`` and ``ffmpeg`` read JPEGs that are grey or YCbCr; Pillow reads the rest for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RobustMQError, unknown
from .containers import Container, inspect
from .decoder_ffmpeg import decode_ffmpeg
from .decoder_opencv import decode_opencv
from .decoder_pillow import decode_pillow
from .decoder_turbo import turbo
from .exif import EXIF_POLICIES, upright, upright_size

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A way to decode.

    Attributes:
        read: Takes an inspected container and a reduction of 1, 2, 4 or 8; gives (H, W, 3) uint8 RGB as stored.
        about: What it is, in a few words.
    """

    read: Callable[[Container, int], NDArray[np.uint8]]
    about: str


def decode(
    content: bytes,
    *,
    decoder: str = "pillow",
    exif: str = "ignored",
    resized: Callable[[Size], Size] | None = None,
) -> NDArray[np.uint8]:
    """Decode one stored image.

    Args:
        content: A JPEG, PNG, BMP or WebP file.
        decoder: A name of ``DECODERS``. ``pillow``, ``opencv`` and ``turbo`` give the same pixels, except that CMYK
            JPEGs differ by one level in OpenCV; the others are what production stacks do otherwise.
        exif: ``"ignored"`` or ``"applied"``: whether the image is turned as the camera's orientation tag says.
        resized: Gives the size an image of a given size is resized to. With it a JPEG is decoded at 1/2, 1/4 or 1/8
            as long as both sides stay at least as large as that; sides are rounded up.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous, at the stored size unless ``resized`` or ``exif`` say otherwise.

    Raises:
        InputError: If the content is empty, of another format, damaged, truncated or larger than ``MAX_PIXELS``;
            or if the decoder or the EXIF policy is unknown.
        UnsupportedError: If the decoder's package is not installed.
    """
    if decoder not in DECODERS:
        raise unknown("decoder", decoder, DECODERS)
    if exif not in EXIF_POLICIES:
        raise unknown("EXIF policy", exif, EXIF_POLICIES)
    container = inspect(content)
    orientation = container.orientation if exif == "applied" else 1
    size = upright_size(container.height, container.width, orientation)
    reduction = 1 if resized is None or container.format != "JPEG" else _reduction(size, resized(size))
    return upright(_decoded(container, decoder, reduction), orientation)


def _decoded(container: Container, decoder: str, reduction: int) -> NDArray[np.uint8]:
    try:
        pixels = DECODERS[decoder].read(container, reduction)
    except RobustMQError:
        raise
    # Damaged files make the decoders raise a dozen kinds of exception, from struct.error to MemoryError.
    except Exception as error:
        raise InputError(
            f"A {container.format} file of {container.width} x {container.height} pixels does not decode with "
            f"{decoder}: {error}. Replace or remove the file."
        ) from error
    if pixels.shape != (-(-container.height // reduction), -(-container.width // reduction), 3):
        raise InputError(
            f"A {container.format} file declares {container.width} x {container.height} pixels but decodes to "
            f"{pixels.shape} at 1/{reduction}. Replace or remove the file."
        )
    return pixels


def _reduction(size: Size, least: Size) -> int:
    # Pillow's rule, by the sides rounded down; TensorFlow and OpenCV leave the choice to the caller.
    fitting = (factor for factor in (8, 4, 2) if size[0] // factor >= least[0] and size[1] // factor >= least[1])
    return next(fitting, 1)


DECODERS: Mapping[str, Decoder] = {
    "ffmpeg": Decoder(read=decode_ffmpeg, about="FFmpeg and swscale, chroma repeated"),
    "opencv": Decoder(read=decode_opencv, about="OpenCV; JPEGs equal to Pillow's but for CMYK"),
    "pillow": Decoder(read=decode_pillow, about="Pillow, the reference"),
    "turbo": Decoder(read=turbo(fast_dct=False, box_chroma=False), about="libjpeg-turbo, equal to Pillow"),
    "turbo-box": Decoder(read=turbo(fast_dct=False, box_chroma=True), about="chroma repeated, DALI's default"),
    "turbo-fast": Decoder(read=turbo(fast_dct=True, box_chroma=True), about="fast DCT and chroma repeated"),
    "turbo-fast-dct": Decoder(read=turbo(fast_dct=True, box_chroma=False), about="fast DCT, TensorFlow's default"),
}
"""Name to decoder; ``turbo`` and ``ffmpeg`` need the extra ``decoders``."""
