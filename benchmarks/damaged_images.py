"""Image files as cameras and editors write them, and the damage that ``fuzz_images.py`` does to them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

Generator = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Case:
    """A damaged file."""

    number: int
    name: str
    damage: tuple[str, ...]
    content: bytes


def good_files() -> dict[str, bytes]:
    """Give undamaged files by name, the format first."""
    rows, columns = np.mgrid[0:61, 0:83].astype(np.float64)
    waves = [127 + 120 * np.sin(rows / (9 + c) + columns / (13 - c) + c) for c in range(4)]
    rgba = Image.fromarray(np.stack(waves, axis=2).astype(np.uint8))
    rgb, deep = rgba.convert("RGB"), Image.fromarray((waves[0] * 250).astype(np.uint16))
    turned = Image.Exif()
    turned[0x112], turned[0x10F] = 6, "a camera"
    second = {"save_all": True, "append_images": [rgb.transpose(Image.Transpose.ROTATE_180)]}
    cmyk = _stored(rgb.convert("CMYK"), "JPEG")
    transform = cmyk.index(b"Adobe") + 11
    return {
        "JPEG 4:2:0": _stored(rgb, "JPEG", exif=turned),
        "JPEG 4:4:4": _stored(rgb, "JPEG", subsampling=0, quality=95),
        "JPEG 4:2:2 progressive": _stored(rgb, "JPEG", subsampling=1, progressive=True, exif=turned),
        "JPEG with restarts": _stored(rgb, "JPEG", restart_marker_blocks=4),
        "JPEG grey": _stored(rgb.convert("L"), "JPEG"),
        "JPEG RGB": _stored(rgb, "JPEG", keep_rgb=True),
        "JPEG CMYK": cmyk,
        "JPEG YCCK": cmyk[:transform] + b"\x02" + cmyk[transform + 1 :],
        "PNG": _stored(rgb, "PNG", exif=turned),
        "PNG with alpha": _stored(rgba, "PNG"),
        "PNG palette": _stored(rgb.quantize(17), "PNG", transparency=bytes(range(17))),
        "PNG 16 bits": _stored(deep, "PNG"),
        "PNG 1 bit": _stored(rgb.convert("1"), "PNG"),
        "PNG animated": _stored(rgb, "PNG", **second),
        "BMP": _stored(rgb, "BMP"),
        "BMP palette": _stored(rgb.quantize(9), "BMP"),
        "WEBP": _stored(rgb, "WEBP", exif=turned),
        "WEBP lossless": _stored(rgba, "WEBP", lossless=True),
        "WEBP animated": _stored(rgb, "WEBP", **second),
    }


def _stored(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def cases(count: int, seed: int) -> Iterator[Case]:
    """Damage good files; the same seed gives the same files."""
    goods = good_files()
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        # Half of the files are JPEGs: they have seven of the decoders.
        form = str(rng.choice(["JPEG", "PNG", "BMP", "WEBP"], p=[0.5, 0.25, 0.1, 0.15]))
        name = str(rng.choice(sorted(name for name in goods if name.startswith(form))))
        content, damage = goods[name], []
        for _ in range(int(rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05]))):
            way, content = _damaged(content, rng, [good for other, good in goods.items() if other.startswith(form)])
            damage.append(way)
        yield Case(number=number, name=name, damage=tuple(damage), content=content)


def _damaged(content: bytes, rng: Generator, others: list[bytes]) -> tuple[str, bytes]:
    place, other = int(rng.integers(len(content) + 1)), others[int(rng.integers(len(others)))]
    run = int(rng.integers(1, max(len(content) // 8, 2)))
    ways: dict[str, Callable[[], bytes]] = {
        "one bit flipped": lambda: _flipped(content, rng, 1),
        "16 bits flipped": lambda: _flipped(content, rng, 16),
        "cut off": lambda: content[:place],
        "blanked": lambda: content[:place] + bytes(len(content[place : place + run])) + content[place + run :],
        "repeated": lambda: content[: place + run] + content[place:],
        "spliced": lambda: content[:place] + other[int(rng.integers(len(other) + 1)) :],
        "header changed": lambda: _header_changed(content, rng),
        "EXIF changed": lambda: _exif_changed(content, rng),
    }
    name = str(rng.choice(list(ways)))
    return name, ways[name]()


def _flipped(content: bytes, rng: Generator, bits: int) -> bytes:
    changed = np.frombuffer(content, np.uint8).copy()
    for _ in range(bits if len(changed) else 0):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return changed.tobytes()


def _header_changed(content: bytes, rng: Generator) -> bytes:
    """Write one of the numbers that break programs where sizes, depths and lengths stand."""
    frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    first = frame + 2 if content.startswith(b"\xff\xd8") and frame >= 0 else 8
    number = int(rng.choice([0, 1, 2, 3, 8, 0x7F, 0x80, 0xFF, 0x100, 0x4000, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF]))
    width = int(rng.choice([1, 2, 4]))
    place = int(rng.integers(first, first + 32))
    order = str(rng.choice(["big", "little"]))
    written = (number % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
    return content[:place] + written + content[place + width :]


def _exif_changed(content: bytes, rng: Generator) -> bytes:
    """Give a JPEG another EXIF segment, broken in most cases; of the other formats, change some of its bytes."""
    start = max(content.find(b"Exif\0\0"), content.find(b"MM\0*"), content.find(b"eXIf"))
    if content.startswith(b"\xff\xd8"):
        exif = Image.Exif()
        exif[0x112] = int(rng.integers(0, 10))
        body = _flipped(exif.tobytes(), rng, int(rng.integers(0, 12)))
        length = len(body) + 2 if rng.random() < 0.7 else int(rng.integers(65536))
        return content[:2] + b"\xff\xe1" + length.to_bytes(2, "big") + body + content[2:]
    end = start + 64 if start >= 0 else len(content)
    start = max(start, 0)
    return content[:start] + _flipped(content[start:end], rng, 4) + content[end:]
