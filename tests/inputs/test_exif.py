from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from robustmq_trt.core.errors import InputError
from robustmq_trt.inputs.containers import inspect
from robustmq_trt.inputs.decode import DECODERS, decode
from robustmq_trt.inputs.exif import UPRIGHT, orientation_of, upright, upright_size

ORIENTATIONS = range(1, 9)
FORMATS: dict[str, dict[str, Any]] = {"JPEG": {"subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}


def picture() -> NDArray[np.uint8]:
    """Two ramps, (24, 40, 3): no two of the eight turns look alike."""
    rows, columns = np.mgrid[0:24, 0:40]
    return np.stack([rows * 10, columns * 6, rows + columns], axis=2).astype(np.uint8)


def stored(orientation: int, form: str) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, form, exif=exif, **FORMATS[form])
    return file.getvalue()


def block(order: str, tag: int = 0x112, kind: int = 3, value: int = 6, count: int = 1) -> bytes:
    """An EXIF block with another tag before the one in question, in either byte order."""
    name: Any = {"little": b"II", "big": b"MM"}[order]
    parts = [
        (42, 2),
        (8, 4),
        (count + 1, 2),
        (0x10F, 2),
        (2, 2),
        (1, 4),
        (0, 4),
        (tag, 2),
        (kind, 2),
        (1, 4),
        (value, 2),
    ]
    numbers = b"".join(number.to_bytes(size, order) for number, size in parts)  # type: ignore[arg-type]
    return bytes(name + numbers + bytes(6))


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("decoder", ["opencv", "pillow", "turbo"])
def test_applied_orientations_are_those_of_pillow_and_opencv(orientation: int, form: str, decoder: str) -> None:
    content = stored(orientation, form)

    turned = decode(content, decoder=decoder, exif="applied")

    np.testing.assert_array_equal(turned, ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(turned, cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB))
    assert turned.flags.c_contiguous


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_every_decoder_turns_its_own_pixels(orientation: int, form: str, decoder: str) -> None:
    content = stored(orientation, form)

    turned = decode(content, decoder=decoder, exif="applied")

    np.testing.assert_array_equal(turned, upright(decode(content, decoder=decoder), orientation))


def test_the_eight_turns_differ_and_keep_every_pixel() -> None:
    image = picture()

    turned = [upright(image, orientation) for orientation in ORIENTATIONS]

    assert len({(pixels.shape, pixels.tobytes()) for pixels in turned}) == 8
    for orientation, pixels in zip(ORIENTATIONS, turned, strict=True):
        assert pixels.shape[:2] == upright_size(24, 40, orientation)
        np.testing.assert_array_equal(np.sort(pixels.reshape(-1, 3), axis=0), np.sort(image.reshape(-1, 3), axis=0))


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
@pytest.mark.parametrize("value", ORIENTATIONS)
def test_the_tag_is_read_in_both_byte_orders(order: str, prefix: bytes, value: int) -> None:
    assert orientation_of(prefix + block(order, value=value)) == value


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"II",
        b"XX" + block("little")[2:],
        block("little", tag=0x113),
        block("little", kind=2),
        block("little", value=0),
        block("little", value=9),
        block("little")[:25],
        b"II*\0\xff\xff\xff\xff",
    ],
)
def test_a_missing_or_damaged_tag_means_upright(exif: bytes) -> None:
    assert orientation_of(exif) == UPRIGHT


def test_random_blocks_give_an_orientation_or_upright() -> None:
    rng = np.random.default_rng(1)
    good = block("big", count=60_000)

    for _ in range(500):
        damaged = bytearray(good)
        damaged[int(rng.integers(len(good)))] = int(rng.integers(256))

        assert orientation_of(bytes(damaged[: int(rng.integers(len(good) + 1))])) in ORIENTATIONS


def test_the_first_exif_segment_of_a_jpeg_counts() -> None:
    first, second = stored(6, "JPEG"), stored(3, "JPEG")
    start = second.index(b"\xff\xe1")
    length = int.from_bytes(second[start + 2 : start + 4], "big")

    both = first[:2] + first[2:20] + first[20:]
    both = both[: both.index(b"\xff\xdb")] + second[start : start + 2 + length] + both[both.index(b"\xff\xdb") :]

    assert inspect(both).orientation == 6


def test_a_reduced_image_is_turned_after_its_reduction() -> None:
    content = stored(6, "JPEG")

    turned = decode(content, exif="applied", resized=lambda size: (size[0] // 2, size[1] // 2))

    np.testing.assert_array_equal(turned, upright(decode(content, resized=lambda size: (12, 20)), 6))
    assert turned.shape == (20, 12, 3)


def test_the_size_to_resize_to_is_asked_for_upright_sizes() -> None:
    asked: list[tuple[int, int]] = []

    def resized(size: tuple[int, int]) -> tuple[int, int]:
        asked.append(size)
        return size

    for exif in ("applied", "ignored"):
        decode(stored(6, "JPEG"), exif=exif, resized=resized)

    assert asked == [(40, 24), (24, 40)]


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(InputError, match=r"Unknown EXIF policy 'apply'\. Did you mean 'applied'"):
        decode(stored(1, "PNG"), exif="apply")
