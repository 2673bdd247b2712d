from __future__ import annotations

import hashlib
import io
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from robustmq_trt import assets
from robustmq_trt.core.errors import InputError, UnsupportedError
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.decode import DECODERS, decode
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

ALL = sorted(DECODERS)
TORCHVISION = PRESETS["torchvision"]


def picture(height: int = 97, width: int = 121) -> NDArray[np.uint8]:
    """Smooth colours with a little grain."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [127 + 90 * np.sin(rows / (15 + c) + columns / (19 - c) + c) for c in range(3)]
    grain = np.random.default_rng(4).normal(0, 8, (height, width, 1))
    return (np.stack(waves, axis=2) + grain).clip(0, 255).astype(np.uint8)


def jpeg(image: NDArray[np.uint8], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return file.getvalue()


def png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def planes_with_repeated_chroma(content: bytes) -> NDArray[np.float64]:
    """The three planes a 4:2:0 JPEG holds, chroma repeated, by JFIF's formula."""
    context = av.CodecContext.create("mjpeg", "r")
    frame = context.decode(av.Packet(content))[0]
    luma, blue, red = (
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(float)
        for plane in frame.planes
    )
    blue, red = (
        plane.repeat(2, axis=0).repeat(2, axis=1)[: luma.shape[0], : luma.shape[1]] - 128 for plane in (blue, red)
    )
    rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=2)
    return rgb.clip(0, 255)


@pytest.mark.parametrize("decoder", ["turbo-box", "ffmpeg"])
def test_box_chroma_repeats_the_stored_samples(decoder: str) -> None:
    content = jpeg(picture(96, 120))

    difference = np.abs(decode(content, decoder=decoder) - planes_with_repeated_chroma(content))

    assert difference.mean() < 0.8
    assert difference.max() <= 5
    assert np.abs(decode(content) - planes_with_repeated_chroma(content)).max() > 8  # what interpolation does


GOLDEN = json.loads((Path(__file__).parent / "golden" / "tensorflow_decoders.json").read_text())


@pytest.mark.parametrize("name", sorted(GOLDEN["sha256"]))
def test_turbo_decoders_are_tensorflow_s_to_the_byte(name: str) -> None:
    decoder, scale = name.split(" 1/")
    digest = hashlib.sha256()

    for path in sorted(assets.images_dir("eval").rglob("*.jpg")):
        smaller = partial(_divided, int(scale))
        digest.update(decode(path.read_bytes(), decoder=decoder, resized=smaller).tobytes())

    assert digest.hexdigest() == GOLDEN["sha256"][name]


def _divided(factor: int, size: tuple[int, int]) -> tuple[int, int]:
    return size[0] // factor, size[1] // factor


def test_without_halved_chroma_box_is_turbo() -> None:
    content = jpeg(picture(), subsampling=0)

    np.testing.assert_array_equal(decode(content, decoder="turbo-box"), decode(content, decoder="turbo"))


def test_the_fast_dct_rounds_more_and_no_further() -> None:
    content = jpeg(picture(), quality=92, subsampling=0)

    difference = np.abs(decode(content, decoder="turbo-fast-dct").astype(int) - decode(content, decoder="turbo"))

    assert 0.2 < difference.mean() < 2  # ImageNet: mean 1.2, at most 24
    assert difference.max() <= 24


def test_turbo_fast_is_both_short_cuts() -> None:
    content = jpeg(picture())
    both, box, dct = (decode(content, decoder=f"turbo-{cut}").astype(int) for cut in ("fast", "box", "fast-dct"))

    assert not np.array_equal(both, box)
    assert not np.array_equal(both, dct)
    assert np.abs(both - box).mean() < 2


@pytest.mark.parametrize("decoder", ALL)
def test_decoding_twice_gives_the_same_bytes(decoder: str) -> None:
    content = jpeg(picture())

    np.testing.assert_array_equal(decode(content, decoder=decoder), decode(content, decoder=decoder))


@pytest.mark.parametrize("decoder", ALL)
def test_decoding_in_threads_changes_nothing(decoder: str, tmp_path: Path) -> None:
    for number in range(24):
        (tmp_path / f"{number:02d}.jpg").write_bytes(jpeg(picture(64 + number, 81)))
    dataset, pipeline = open_dataset(tmp_path, unlabelled=True), replace(TORCHVISION, decoder=decoder)

    alone, together = (load_images(dataset, pipeline.for_size(32, 32), threads=threads) for threads in (1, 6))

    assert together.failures == ()
    np.testing.assert_array_equal(alone.images, together.images)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("decoder", "mean", "largest"),
    # As measured on 600 photographs of ImageNet, rounded up.
    [("opencv", 0, 0), ("turbo", 0, 0), ("turbo-fast-dct", 1.5, 30), ("turbo-box", 0.3, 80), ("ffmpeg", 0.5, 90)],
)
def test_photographs_decode_within_the_known_differences(
    decoder: str, mean: float, largest: int, realdata: Path
) -> None:
    paths = sorted((realdata / "data" / "imagenet600" / "images").iterdir())[::20]

    pairs = [(decode(path.read_bytes(), decoder=decoder), decode(path.read_bytes())) for path in paths]

    differences = [np.abs(pixels.astype(np.int16) - reference) for pixels, reference in pairs]
    assert np.mean([difference.mean() for difference in differences]) <= mean
    assert max(difference.max() for difference in differences) <= largest


@pytest.mark.parametrize(
    ("decoder", "package"), [("turbo", "simplejpeg"), ("turbo-fast", "simplejpeg"), ("ffmpeg", "av")]
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    decoder: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    for content in (jpeg(picture()), png(picture())):  # never Pillow instead, though it could read the PNG
        with pytest.raises(UnsupportedError, match=r"pip install 'robustmq-trt\[decoders\]'"):
            decode(content, decoder=decoder)
    assert decode(jpeg(picture())).shape == (97, 121, 3)


@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(97, 121), (96, 120), (64, 200)])
def test_reduced_jpegs_have_their_sides_divided_and_rounded_up(
    decoder: str, factor: int, size: tuple[int, int]
) -> None:
    height, width = size

    reduced = decode(jpeg(picture(*size)), decoder=decoder, resized=lambda _: (height // factor, width // factor))

    assert reduced.shape == (-(-height // factor), -(-width // factor), 3)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reduced_pixels_are_opencv_s_and_pillow_s(factor: int) -> None:
    content = jpeg(picture())
    flag = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}[factor]
    image: Any = Image.open(io.BytesIO(content))
    image.draft("RGB", (121 // factor, 97 // factor))

    by_opencv = cv2.imdecode(np.frombuffer(content, np.uint8), flag)[..., ::-1]

    for decoder in ("opencv", "pillow", "turbo"):
        reduced = decode(content, decoder=decoder, resized=lambda _: (97 // factor, 121 // factor))
        np.testing.assert_array_equal(reduced, by_opencv)
        np.testing.assert_array_equal(reduced, np.asarray(image))


@pytest.mark.parametrize("decoder", ALL)
def test_reduction_averages(decoder: str) -> None:
    image = picture(96, 120)
    means = image.reshape(24, 4, 30, 4, 3).mean(axis=(1, 3))

    reduced = decode(jpeg(image, quality=98, subsampling=0), decoder=decoder, resized=lambda _: (24, 30))

    assert np.abs(reduced - means).mean() < 3


def test_a_jpeg_never_becomes_smaller_than_its_resize() -> None:
    rng = np.random.default_rng(6)
    for _ in range(40):
        height, width, rows, columns = (int(side) for side in rng.integers(1, 120, 4))

        reduced = decode(jpeg(picture(height, width)), resized=lambda _, least=(rows, columns): least)

        assert reduced.shape[0] >= min(rows, height)
        assert reduced.shape[1] >= min(columns, width)


def test_only_jpegs_are_reduced() -> None:
    np.testing.assert_array_equal(decode(png(picture()), resized=lambda _: (4, 4)), picture())


def test_a_pipeline_reduces_as_far_as_its_resize_allows() -> None:
    content = jpeg(picture(600, 900))
    pipeline = replace(TORCHVISION, reduced_decoding=True, size=(112, 112))  # short side 128: half of 300 is too small

    asked = pipeline.decode(content)

    assert asked.shape == (150, 225, 3)
    np.testing.assert_array_equal(pipeline.load(content), pipeline.load(asked))
    assert not np.array_equal(pipeline.load(content), replace(pipeline, reduced_decoding=False).load(content))


def test_a_pipeline_turns_photographs_and_resizes_in_this_order() -> None:
    image = picture()
    exif = Image.Exif()
    exif[0x112] = 8
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", exif=exif)
    pipeline = replace(TORCHVISION, exif="applied", camera="nv12-bt601-limited")

    loaded = pipeline.load(file.getvalue())

    upright = np.ascontiguousarray(np.rot90(image))
    np.testing.assert_array_equal(loaded, pipeline.load(upright))
    assert not np.array_equal(loaded, TORCHVISION.load(upright))
    np.testing.assert_array_equal(pipeline.decode(file.getvalue()), upright)


def test_cards_without_the_newer_entries_still_load() -> None:
    newer = ("reduced_decoding", "exif", "camera")
    old = {key: value for key, value in TORCHVISION.to_json().items() if key not in newer}

    assert Pipeline.from_mapping(old) == TORCHVISION


@pytest.mark.parametrize(
    "change", [{"reduced_decoding": True}, {"exif": "applied"}, {"camera": "nv12-bt601-full"}, {"decoder": "ffmpeg"}]
)
def test_newer_entries_reach_json_fingerprint_and_deployment(change: dict[str, Any]) -> None:
    changed = replace(TORCHVISION, **change)

    assert Pipeline.from_mapping(changed.to_json()) == changed
    assert changed.fingerprint != TORCHVISION.fingerprint
    assert TORCHVISION.with_geometry_of(changed).fingerprint == changed.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reduced_decoding": "yes"}, "`reduced_decoding` cannot be 'yes': it is either true or false"),
        ({"exif": "apply"}, "Unknown EXIF policy 'apply'. Did you mean 'applied'"),
        ({"camera": "nv21"}, "Unknown camera 'nv21'"),
        ({"decoder": "turbo-fas"}, "Did you mean 'turbo-fast'"),
    ],
)
def test_bad_entries_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pipeline.from_mapping({**TORCHVISION.to_json(), **change})
