"""What a stored image says about itself before anything is decoded: format, size, and the bytes without metadata.

Metadata (EXIF, ICC profiles, XMP, text, animation frames) is cut from JPEG and PNG files here, so no decoder can act on
it: every decoder sees the stored pixels, unrotated. Decoding lives in ``decode.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..core.errors import InputError

MAX_PIXELS = 64 << 20
"""Largest image that is decoded, in pixels (8192 x 8192): a 256 MiB picture is a mistake or an attack."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_JPEG_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_METADATA = frozenset(range(0xE1, 0xF0)) - {0xEE} | {0xFE}  # APP14 says how colour is stored, so it stays
_JPEG_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x00, 0x01}


@dataclass(frozen=True, kw_only=True)
class Container:
    """A stored image whose header has been read and whose pixels have not.

    Attributes:
        format: ``"JPEG"``, ``"PNG"``, ``"BMP"`` or ``"WEBP"``, by content.
        width: Stored width in pixels, at least 1.
        height: Stored height in pixels, at least 1.
        content: The file without metadata, all that a decoder gets to see.
    """

    format: str
    width: int
    height: int
    content: bytes


def inspect(content: bytes) -> Container:
    """Read the header of a stored image and cut its metadata.

    Args:
        content: The file, whatever its name ends with.

    Returns:
        Format, size and what is left to decode.

    Raises:
        InputError: If the content is empty, of no known format, damaged in its header, or larger than ``MAX_PIXELS``.
    """
    name = sniff(content)
    if name is None:
        came = f"{len(content)} bytes starting with {content[:8].hex(' ')}" if content else "an empty file"
        raise InputError(f"Expected a {', '.join(sorted(_READERS))} image, got {came}. Replace or remove the file.")
    try:
        container = _READERS[name](content)
    except (IndexError, ValueError) as error:
        raise InputError(f"A {name} file has a damaged header: {error}. Replace or remove the file.") from error
    _check_size(container)
    return container


def sniff(content: bytes) -> str | None:
    """Name the image format by the first bytes of a file, or give None for anything else."""
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(_PNG_SIGNATURE):
        return "PNG"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    return "BMP" if content.startswith(b"BM") else None


def _check_size(container: Container) -> None:
    width, height = container.width, container.height
    if width < 1 or height < 1:
        raise InputError(f"A {container.format} file declares {width} x {height} pixels. Replace or remove the file.")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"A {container.format} file declares {width} x {height} pixels, more than the {MAX_PIXELS} that are "
            "decoded. Shrink the image first."
        )


def _jpeg(content: bytes) -> Container:
    kept = [content[:2]]
    size: tuple[int, int] | None = None
    position = 2
    while True:
        start = content.index(b"\xff", position)  # decoders skip stray bytes between segments, so do we
        marker_at = start + 1
        while content[marker_at] == 0xFF:
            marker_at += 1
        marker, position = content[marker_at], marker_at + 1
        if marker in _JPEG_WITHOUT_LENGTH:
            continue
        if marker in (0xD8, 0xD9):
            raise ValueError("the image ends before its pixels begin")
        segment_end = position + _big(content, position, 2)
        if segment_end > len(content):
            raise ValueError("a segment runs past the end of the file")
        if marker in _JPEG_FRAME_HEADERS:
            if size is not None:
                raise ValueError("two frame headers")
            size = _big(content, position + 5, 2), _big(content, position + 3, 2)
        if marker == 0xDA:
            kept.append(content[start:])
            break
        if marker not in _JPEG_METADATA:
            kept.append(content[start:segment_end])
        position = segment_end
    if size is None:
        raise ValueError("no frame header")
    return Container(format="JPEG", width=size[0], height=size[1], content=b"".join(kept))


def _png(content: bytes) -> Container:
    if content[12:16] != b"IHDR":
        raise ValueError("the first chunk is not IHDR")
    kept = [_PNG_SIGNATURE]
    position, kind = len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        kind = content[position + 4 : position + 8]
        chunk_end = position + 12 + _big(content, position, 4)
        if chunk_end > len(content):
            raise ValueError("a chunk runs past the end of the file")
        if kind in _PNG_PIXEL_CHUNKS and not (kind == b"IHDR" and len(kept) > 1):
            kept.append(content[position:chunk_end])
        position = chunk_end
    return Container(format="PNG", width=_big(content, 16, 4), height=_big(content, 20, 4), content=b"".join(kept))


def _bmp(content: bytes) -> Container:
    old = _little(content, 14, 4) == 12  # the OS/2 header holds 16-bit sizes
    width, height = (_little(content, 18, 2), _little(content, 20, 2)) if old else _windows_size(content)
    return Container(format="BMP", width=width, height=height, content=content)


def _windows_size(content: bytes) -> tuple[int, int]:
    height = _little(content, 22, 4)
    top_down = height >= 1 << 31  # a negative height says that the first row is the top one
    return _little(content, 18, 4), (1 << 32) - height if top_down else height


def _webp(content: bytes) -> Container:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = _little(content, 24, 3) + 1, _little(content, 27, 3) + 1
    elif kind == b"VP8L":
        bits = _little(content, 21, 4)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = _little(content, 26, 2) & 0x3FFF, _little(content, 28, 2) & 0x3FFF
    else:
        raise ValueError(f"unknown first chunk {kind!r}")
    return Container(format="WEBP", width=width, height=height, content=content)


def _big(content: bytes, position: int, count: int) -> int:
    return int.from_bytes(_slice(content, position, count), "big")


def _little(content: bytes, position: int, count: int) -> int:
    return int.from_bytes(_slice(content, position, count), "little")


def _slice(content: bytes, position: int, count: int) -> bytes:
    if position + count > len(content):
        raise ValueError(f"the file ends after {len(content)} bytes")
    return content[position : position + count]


_READERS: Mapping[str, Callable[[bytes], Container]] = {"BMP": _bmp, "JPEG": _jpeg, "PNG": _png, "WEBP": _webp}
