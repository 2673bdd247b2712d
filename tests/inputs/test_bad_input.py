"""The guide's table of unusual and damaged images, row by row, through every decoder."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from robustmq_trt.core.errors import InputError
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.containers import MAX_PIXELS, MAX_SCANS, inspect
from robustmq_trt.inputs.decode import DECODERS, decode


def picture(height: int = 37, width: int = 53, channels: int = 3) -> NDArray[np.uint8]:
    """Smooth colours, (height, width, channels), so that JPEG keeps most of them."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [127 + 120 * np.sin(rows / (5 + c) + columns / (9 - c) + c) for c in range(channels)]
    return np.stack(waves, axis=2).astype(np.uint8)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def without_segment(content: bytes, marker: int) -> bytes:
    start = content.index(bytes([0xFF, marker]))
    return content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4], "big") :]


def ycck(image: Image.Image) -> bytes:
    """The four planes of a CMYK JPEG, read as YCCK from now on."""
    content = jpeg(image.convert("CMYK"))
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    return content[:transform] + b"\x02" + content[transform + 1 :]


def odd_colours(image: Image.Image) -> dict[str, bytes]:
    """JPEGs in every colour space libjpeg tells apart, by every way to say so."""
    rgb, ycbcr, cmyk = jpeg(image, keep_rgb=True), jpeg(image), jpeg(image.convert("CMYK"))
    adobe = without_segment(rgb, 0xE0) if b"\xff\xe0" in rgb[:4] else rgb
    marker = adobe[adobe.index(b"\xff\xee") :][:16]
    return {
        "cmyk": cmyk,
        "cmyk without Adobe's marker": without_segment(cmyk, 0xEE),
        "ycck": ycck(image),
        "rgb by Adobe's marker": rgb,
        "rgb by the names of its components": without_segment(rgb, 0xEE),
        "ycbcr that Adobe's marker calls rgb and JFIF does not": ycbcr[:20] + marker + ycbcr[20:],
        "ycbcr that Adobe's marker calls ycbcr": ycbcr[:20] + marker[:-1] + b"\x01" + ycbcr[20:],
        "grey": jpeg(image.convert("L")),
    }


ALL = sorted(DECODERS)
RGB = Image.fromarray(picture())
ODD = odd_colours(RGB)
FORMATS = ("BMP", "JPEG", "PNG", "WEBP")
COLOURS = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (0, 128, 255),
    (40, 40, 40),
    (255, 255, 255),
    (0, 0, 0),
]


def stored(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def bomb(form: str, side: int) -> bytes:
    """A file whose header alone declares side x side pixels."""
    if form == "PNG":
        chunks = [
            (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"")),
            (b"IEND", b""),
        ]
        packed = [
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        ]
        return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
    if form == "WEBP":
        size = (side - 1).to_bytes(3, "little")
        return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size + size
    content = bytearray(stored(RGB, form))
    if form == "BMP":
        content[18:26] = struct.pack("<ii", side, side)
    else:
        frame = content.index(b"\xff\xc0")
        content[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(content)


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize("name", sorted(ODD))
def test_no_decoder_takes_one_colour_space_for_another(name: str, decoder: str) -> None:
    plain = name in ("grey", "ycbcr that Adobe's marker calls ycbcr")

    difference = np.abs(decode(ODD[name], decoder=decoder).astype(int) - decode(ODD[name]))

    assert inspect(ODD[name]).plain == plain
    if name.startswith("ycbcr that Adobe's marker calls ycbcr"):
        np.testing.assert_array_equal(decode(ODD[name], decoder=decoder), decode(jpeg(RGB), decoder=decoder))
    else:
        assert difference.max() <= (3 if plain else 1)  # of CMYK, OpenCV rounds otherwise; of grey, the fast DCT does


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_flat_colours_come_back(decoder: str, subsampling: int, progressive: bool) -> None:
    flat = np.array(COLOURS, np.uint8).reshape(2, 4, 3).repeat(32, axis=0).repeat(32, axis=1)
    content = jpeg(Image.fromarray(flat), quality=95, subsampling=subsampling, progressive=progressive)

    pixels = decode(content, decoder=decoder)

    centres = pixels.reshape(2, 32, 4, 32, 3)[:, 12:20, :, 12:20].astype(int)
    assert np.abs(centres - np.array(COLOURS).reshape(2, 1, 4, 1, 3)).max() <= 4


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_pixel_is_an_image(decoder: str, form: str, mode: str) -> None:
    content = stored(Image.new("RGB", (1, 1), (90, 90, 90)).convert(mode), form)

    pixels = decode(content, decoder=decoder)

    assert pixels.shape == (1, 1, 3)
    assert np.abs(pixels.astype(int) - 90).max() <= 3


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_one_pixel_passes_every_preset(name: str) -> None:
    pipeline = PRESETS[name].for_size(24, 24)

    loaded = pipeline.load(stored(Image.new("RGB", (1, 1), (90, 90, 90)), "PNG"))

    assert loaded.shape == (24, 24, 3)
    assert np.abs(loaded.astype(int) - 90).max() <= 3


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize(("form", "side"), [("BMP", 60_000), ("JPEG", 60_000), ("PNG", 60_000), ("WEBP", 16_383)])
def test_a_declared_giant_is_refused_by_its_header(form: str, side: int, decoder: str) -> None:
    with pytest.raises(InputError, match=f"{side} x {side} pixels, more than the {MAX_PIXELS}"):
        decode(bomb(form, side), decoder=decoder)


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are so many."""
    content = jpeg(RGB.convert("L"), progressive=True)
    last = content[content.rindex(b"\xff\xc4") : -2]
    return content[:-2] + last * (count - content.count(b"\xff\xda")) + content[-2:]


@pytest.mark.parametrize("decoder", ALL)
def test_a_jpeg_of_endless_scans_is_refused_before_it_costs_minutes(decoder: str) -> None:
    assert decode(with_scans(MAX_SCANS)).shape == (37, 53, 3)
    with pytest.raises(InputError, match=f"{MAX_SCANS + 1} scans, more than the {MAX_SCANS}"):
        decode(with_scans(MAX_SCANS + 1), decoder=decoder)


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_a_jpeg_cut_anywhere_is_refused(decoder: str, options: dict[str, Any]) -> None:
    content = jpeg(RGB, **options)

    for end in [*range(0, len(content) - 1, 37), len(content) - 2]:
        with pytest.raises(InputError):
            decode(content[:end], decoder=decoder)


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize("name", sorted(ODD))
def test_an_odd_jpeg_cut_in_half_is_refused(name: str, decoder: str) -> None:
    with pytest.raises(InputError):
        decode(ODD[name][: len(ODD[name]) * 3 // 4], decoder=decoder)


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize(
    ("place", "number", "message"),
    [
        (10, 0, "begin outside"),
        (10, 53, "begin outside"),
        (10, 1 << 30, "begin outside"),
        (14, 41, "header of 41 bytes"),
    ],
)
def test_a_bmp_that_every_decoder_would_guess_about_is_refused(
    place: int, number: int, message: str, decoder: str
) -> None:
    content = stored(RGB, "BMP")

    with pytest.raises(InputError, match=message):
        decode(content[:place] + number.to_bytes(4, "little") + content[place + 4 :], decoder=decoder)


def test_reasons_are_the_same_on_every_run() -> None:
    content = jpeg(RGB).replace(b"\xff\xdb\x00\x43", b"\xff\xdb\x00\x03")

    with pytest.raises(InputError) as caught:
        decode(content)

    assert "0x" not in str(caught.value)


@pytest.mark.parametrize("decoder", ALL)
def test_an_empty_file_says_so(decoder: str) -> None:
    with pytest.raises(InputError, match=r"an empty file\. Replace or remove the file"):
        decode(b"", decoder=decoder)
