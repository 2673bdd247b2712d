from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from robustmq_trt.core.errors import InputError
from robustmq_trt.inputs.containers import MAX_PIXELS, inspect
from robustmq_trt.inputs.decode import DECODERS, decode

ALL = sorted(DECODERS)
EQUAL = ["opencv", "pillow", "turbo"]


def picture(channels: int = 3) -> NDArray[np.uint8]:
    """Smooth colours, (37, 53, channels), so that JPEG keeps most of them."""
    rows, columns = np.mgrid[0:37, 0:53].astype(np.float64)
    waves = [127 + 120 * np.sin(rows / (5 + c) + columns / (9 - c) + c) for c in range(channels)]
    return np.stack(waves, axis=2).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


RGB = Image.fromarray(picture())
RGBA = Image.fromarray(picture(4))
TURNED = Image.Exif()
TURNED[0x112] = 6

STORED = {
    "jpeg": encoded(RGB, "JPEG"),
    "jpeg-progressive": encoded(RGB, "JPEG", progressive=True),
    "jpeg-444": encoded(RGB, "JPEG", subsampling=0),
    "jpeg-grey": encoded(RGB.convert("L"), "JPEG"),
    "jpeg-turned": encoded(RGB, "JPEG", exif=TURNED),
    "png": encoded(RGB, "PNG"),
    "png-alpha": encoded(RGBA, "PNG"),
    "png-grey-alpha": encoded(RGBA.convert("LA"), "PNG"),
    "png-1-bit": encoded(RGB.convert("1"), "PNG"),
    "png-palette": encoded(RGB.quantize(17), "PNG"),
    "png-palette-alpha": encoded(RGB.quantize(17), "PNG", transparency=bytes(range(17))),
    "png-animated": encoded(RGB, "PNG", save_all=True, append_images=[Image.fromarray(255 - picture())]),
    "png-turned": encoded(RGB, "PNG", exif=TURNED),
    "bmp": encoded(RGB, "BMP"),
    "bmp-alpha": encoded(RGBA, "BMP"),
    "bmp-palette": encoded(RGB.quantize(9), "BMP"),
    "webp": encoded(RGB, "WEBP"),
    "webp-lossless": encoded(RGB, "WEBP", lossless=True),
    "webp-animated": encoded(RGB, "WEBP", save_all=True, append_images=[Image.fromarray(255 - picture())]),
    "webp-turned": encoded(RGB, "WEBP", exif=TURNED),
}


@pytest.mark.parametrize("name", sorted(STORED))
@pytest.mark.parametrize("decoder", ALL)
def test_decoders_differ_only_in_what_a_jpeg_leaves_open(name: str, decoder: str) -> None:
    pixels = decode(STORED[name], decoder=decoder)

    assert pixels.shape == (37, 53, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    if decoder in EQUAL or not name.startswith("jpeg"):
        np.testing.assert_array_equal(pixels, decode(STORED[name]))


@pytest.mark.parametrize(
    "name", ["png", "png-alpha", "png-animated", "png-turned", "bmp", "bmp-alpha", "webp-lossless"]
)
@pytest.mark.parametrize("decoder", ALL)
def test_lossless_files_give_back_the_stored_colours_without_alpha_or_rotation(name: str, decoder: str) -> None:
    np.testing.assert_array_equal(decode(STORED[name], decoder=decoder), picture(4)[:, :, :3])


@pytest.mark.parametrize("decoder", ALL)
def test_exif_orientation_is_ignored(decoder: str) -> None:
    turned, straight = (decode(STORED[name], decoder=decoder) for name in ("jpeg-turned", "jpeg"))

    np.testing.assert_array_equal(turned, straight)


@pytest.mark.parametrize("decoder", ALL)
def test_an_animation_gives_its_first_image(decoder: str) -> None:
    difference = decode(STORED["webp-animated"], decoder=decoder).astype(int) - picture()

    assert np.abs(difference).mean() < 8  # the second image is the negative


@pytest.mark.parametrize("decoder", ALL)
def test_16_bit_samples_keep_their_high_byte(decoder: str) -> None:
    grey = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    colour = np.stack([grey, grey[::-1], grey.T], axis=2)

    from_grey = decode(encoded(Image.fromarray(grey), "PNG"), decoder=decoder)
    from_colour = decode(cv2.imencode(".png", colour[:, :, ::-1])[1].tobytes(), decoder=decoder)

    np.testing.assert_array_equal(from_grey, np.repeat((grey >> 8)[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(from_colour, colour >> 8)


@pytest.mark.parametrize("decoder", ALL)
def test_cmyk_decoders_agree_within_one_level(decoder: str) -> None:
    content = encoded(RGB.convert("CMYK"), "JPEG")

    difference = decode(content, decoder=decoder).astype(int) - decode(content)

    assert np.abs(difference).max() <= 1


def test_the_format_is_told_by_content() -> None:
    assert [inspect(STORED[name]).format for name in ("jpeg", "png", "bmp", "webp")] == ["JPEG", "PNG", "BMP", "WEBP"]


def test_a_jpeg_without_metadata_is_handed_on_as_it_is() -> None:
    content = encoded(RGB, "JPEG")

    assert inspect(content).content is content
    assert inspect(content[:20] + b"stray" + content[20:]).content == content  # behind JFIF's segment


def test_metadata_never_reaches_a_decoder() -> None:
    jpeg = encoded(RGB, "JPEG", exif=TURNED, comment=b"a comment", icc_profile=b"a profile")
    png = encoded(RGB, "PNG", exif=TURNED, icc_profile=b"a profile")

    for content in (jpeg, png):
        kept = inspect(content).content
        assert not any(word in kept for word in (b"Exif", b"comment", b"profile", b"eXIf", b"iCCP"))


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"GIF89a" + bytes(50), "47 49 46 38 39 61"),
        (b"hello", "68 65 6c 6c 6f"),
        (b"\xff\xd8\xff", "damaged header"),
        (STORED["png"][:20], "damaged header"),
        (STORED["jpeg"][:40], "damaged header"),
        (STORED["webp"][:14], "damaged header"),
        (STORED["bmp"][:16], "damaged header"),
    ],
)
def test_what_is_no_image_is_an_input_error_that_says_what_came(content: bytes, message: str, decoder: str) -> None:
    with pytest.raises(InputError, match=message):
        decode(content, decoder=decoder)


def test_truncated_pixels_are_an_input_error() -> None:
    for name in ("jpeg", "png", "bmp", "webp"):
        with pytest.raises(InputError, match=r"does not decode|damaged header"):
            decode(STORED[name][: len(STORED[name]) // 2])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def declared_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def declared_webp(width: int, height: int) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + (width - 1).to_bytes(3, "little")
    body += (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize(
    "content", [declared_png(100_000, 100_000), declared_webp(16_000, 16_000)], ids=["png", "webp"]
)
def test_a_declared_giant_is_refused_before_anything_is_allocated(content: bytes, decoder: str) -> None:
    with pytest.raises(InputError, match=str(MAX_PIXELS)):  # pytest makes a bomb warning an error
        decode(content, decoder=decoder)


def test_an_image_of_no_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="0 x 5 pixels"):
        decode(declared_png(0, 5))


def test_two_frame_headers_are_refused() -> None:
    content = STORED["jpeg"]
    frame = content.index(b"\xff\xc0")

    with pytest.raises(InputError, match="two frame headers"):
        decode(content[:frame] + content[frame : frame + 19] + content[frame:])


def test_an_unknown_decoder_is_named() -> None:
    with pytest.raises(InputError, match=r"Unknown decoder 'pilow'\. Did you mean 'pillow'"):
        decode(STORED["png"], decoder="pilow")


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(max(len(data), 1)))
        match int(rng.integers(4)):
            case 0:
                data[place : place + 1] = bytes([int(rng.integers(256))])
            case 1 if data:
                data[place] ^= 1 << int(rng.integers(8))
            case 2:
                del data[place:]
            case _:
                data[place:place] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(data)


@pytest.mark.parametrize("name", ["jpeg", "jpeg-progressive", "png", "png-palette", "bmp", "webp", "webp-animated"])
@pytest.mark.parametrize("decoder", ALL)
def test_only_input_errors_come_out_of_damaged_files(name: str, decoder: str) -> None:
    rng = np.random.default_rng(20)

    for _ in range(100):
        try:
            pixels = decode(mutated(STORED[name], rng), decoder=decoder)
        except InputError:
            continue
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3


@pytest.mark.parametrize("name", sorted(STORED))
@pytest.mark.parametrize("decoder", ALL)
def test_a_file_cut_anywhere_is_refused_by_every_decoder(name: str, decoder: str) -> None:
    last = len(STORED[name]) - 4  # a BMP's last bytes can be padding
    for end in [last, *np.random.default_rng(3).integers(0, last, 8)]:
        with pytest.raises(InputError):
            decode(STORED[name][:end], decoder=decoder)
