from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustmq_trt.assets import images_dir
from robustmq_trt.core.errors import InputError
from robustmq_trt.inputs.catalog import PRESETS, find_preset
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.resize import resize

TORCHVISION = PRESETS["torchvision"]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def by_hand(images: np.ndarray, pipeline: Pipeline) -> np.ndarray:
    tensor = (images / 255 - np.array(pipeline.mean)) / np.array(pipeline.std)
    tensor = tensor if pipeline.layout == "nhwc" else tensor.transpose(0, 3, 1, 2)
    return tensor.astype(np.float32)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 17, 5), (2, 1, 1), (1, 224, 224), (0, 8, 8)])
def test_tensors_are_the_float64_formula_rounded_once(name: str, layout: str, shape: tuple[int, ...]) -> None:
    pipeline, images = replace(PRESETS[name], layout=layout), noise(*shape, 3)

    tensor = pipeline.tensor(images)

    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, by_hand(images, pipeline))


def test_mobilenets_get_pixels_over_127_5_minus_1() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)

    tensor = PRESETS["tflite-mobilenet"].tensor(images)

    np.testing.assert_allclose(tensor[0, 0].ravel(), np.arange(256) / 127.5 - 1, atol=1e-7)


@pytest.mark.parametrize("size", [224, 64, 299])
def test_torchvision_fast_is_torchvision_within_two_levels(size: int) -> None:
    photographs = [path.read_bytes() for path in sorted(images_dir("eval").rglob("*.jpg"))[::10]]
    cmyk = io.BytesIO()
    Image.fromarray(noise(90, 120, 3)).convert("CMYK").save(cmyk, "JPEG")

    for content in (
        *photographs,
        cmyk.getvalue(),
        png(noise(70, 300, 3)),
        png(noise(1, 1, 3)),
        png(noise(224, 224, 3)),
    ):
        fast, plain = (PRESETS[name].for_size(size, size).load(content) for name in ("torchvision-fast", "torchvision"))

        assert np.abs(fast.astype(int) - plain).max() <= 2


@pytest.mark.realdata
def test_torchvision_fast_keeps_within_two_levels_on_real_photographs(realdata: Path) -> None:
    for path in sorted((realdata / "data" / "imagenet600" / "images").iterdir())[::6]:
        fast, plain = (PRESETS[name].load(path.read_bytes()) for name in ("torchvision-fast", "torchvision"))

        assert np.abs(fast.astype(int) - plain).max() <= 2


def test_any_stride_gives_the_same_tensor() -> None:
    images = noise(4, 12, 10, 3)
    views = images[::2], images[:, ::-1, :, ::-1], images[:, 2:, 3:]

    for view in views:
        np.testing.assert_array_equal(TORCHVISION.tensor(view), by_hand(view, TORCHVISION))


@pytest.mark.parametrize(("layout", "shape"), [("nchw", (2, 3, 6, 7)), ("nhwc", (2, 6, 7, 3))])
def test_uint8_engines_get_the_pixels(layout: str, shape: tuple[int, ...]) -> None:
    images = noise(2, 6, 7, 3)

    tensor = replace(TORCHVISION, dtype="uint8", layout=layout).tensor(images)

    expected = images.transpose(0, 3, 1, 2) if layout == "nchw" else images
    assert tensor.shape == shape
    assert tensor.dtype == np.uint8
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, expected)


@pytest.mark.parametrize("images", [noise(3, 4, 4), noise(1, 3, 4, 4), noise(1, 4, 4, 3).astype(np.float32)])
def test_tensor_refuses_what_is_no_batch_of_pixels(images: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"Expected images \(N, H, W, 3\) uint8"):
        TORCHVISION.tensor(images)


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (257, 1000), (40, 30), (256, 256), (224, 224)])
def test_torchvision_preset_is_resize_256_bilinear_and_centre_crop_224(size: tuple[int, int]) -> None:
    image, (height, width) = noise(*size, 3), size
    rows, columns = (256, int(256 * width / height)) if height <= width else (int(256 * height / width), 256)
    top, left = round((rows - 224) / 2), round((columns - 224) / 2)

    loaded = TORCHVISION.load(png(image))

    resized = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(loaded, resized[top : top + 224, left : left + 224])


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_loads_files_and_pixels_alike_at_the_model_s_size(name: str) -> None:
    image = noise(90, 70, 3)
    before = image.copy()

    for pipeline in (PRESETS[name], PRESETS[name].for_size(48, 64)):
        loaded = pipeline.load(png(image))

        assert loaded.shape == (*pipeline.size, 3)
        assert loaded.dtype == np.uint8
        assert loaded.flags.c_contiguous
        assert loaded.flags.writeable
        np.testing.assert_array_equal(loaded, pipeline.load(image))
    np.testing.assert_array_equal(image, before)


def test_cifar_images_pass_through_as_they_are_and_are_copied() -> None:
    image = noise(32, 32, 3)

    loaded = PRESETS["cifar10"].load(image)

    np.testing.assert_array_equal(loaded, image)
    assert not np.shares_memory(loaded, image)


def test_bgr_swaps_the_channels_and_nothing_else() -> None:
    image = TORCHVISION.load(noise(50, 60, 3))
    bgr = replace(TORCHVISION, colour="bgr", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    np.testing.assert_array_equal(bgr.load(image), TORCHVISION.load(image))
    np.testing.assert_array_equal(bgr.tensor(image[None]), replace(bgr, colour="rgb").tensor(image[None])[:, ::-1])
    assert bgr.tensor(image[None]).flags.c_contiguous


@pytest.mark.parametrize(("geometry", "fill"), [("letterbox-black", 0), ("letterbox-grey", 114)])
@pytest.mark.parametrize("size", [(40, 90), (90, 40), (33, 64), (64, 64), (5, 90)])
def test_a_letterbox_keeps_the_whole_image_between_borders(geometry: str, fill: int, size: tuple[int, int]) -> None:
    pipeline = replace(TORCHVISION, geometry=geometry, crop_fraction=1.0, size=(64, 64))
    rows, columns = max(1, 64 * size[0] // max(size)), max(1, 64 * size[1] // max(size))
    top, left = -round((rows - 64) / 2), -round((columns - 64) / 2)

    loaded = pipeline.load(noise(*size, 3))

    inner = resize(noise(*size, 3), height=rows, width=columns, resizer="pillow-bilinear")
    expected = np.full((64, 64, 3), fill, np.uint8)
    expected[top : top + rows, left : left + columns] = inner
    np.testing.assert_array_equal(loaded, expected)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_half_precision_tensors_are_the_float64_formula_rounded_once(layout: str) -> None:
    pipeline, images = replace(TORCHVISION, dtype="float16", layout=layout), noise(2, 9, 8, 3)

    tensor = pipeline.tensor(images)

    exact = (images / 255 - np.array(pipeline.mean)) / np.array(pipeline.std)
    exact = exact if layout == "nhwc" else exact.transpose(0, 3, 1, 2)
    assert tensor.dtype == np.float16
    np.testing.assert_array_equal(tensor, exact.astype(np.float16))


@pytest.mark.parametrize("image", [noise(4, 4), noise(4, 4, 4), noise(4, 4, 3) / 255, noise(0, 4, 3)])
def test_load_refuses_arrays_that_are_no_image(image: Any) -> None:
    with pytest.raises(InputError, match=r"Expected pixels \(H, W, 3\) uint8"):
        TORCHVISION.load(image)


def test_a_shift_of_preparation_keeps_the_model_s_numbers() -> None:
    model = PRESETS["tflite-mobilenet"].for_size(192, 192)

    shifted = model.with_geometry_of(replace(PRESETS["opencv-nearest"], colour="bgr"))

    assert (shifted.decoder, shifted.resize, shifted.colour) == ("opencv", "opencv-nearest", "rgb")
    assert (shifted.mean, shifted.std, shifted.size) == (model.mean, model.std, (192, 192))
    assert shifted.name == "opencv-nearest/tflite-mobilenet"
    assert model.with_geometry_of(model).fingerprint == model.fingerprint


def test_a_pipeline_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)

    assert {name for name, preset in PRESETS.items() if preset.missing} == {
        name for name, preset in PRESETS.items() if "ffmpeg" in (preset.decoder, preset.resize)
    }
    assert PRESETS["ffmpeg"].missing.endswith("Run: pip install 'robustmq-trt[decoders]'.")
    monkeypatch.undo()
    assert PRESETS["ffmpeg"].missing == ""


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_survive_json(name: str) -> None:
    assert Pipeline.from_mapping(PRESETS[name].to_json()) == PRESETS[name]
    assert PRESETS[name].name == name


def test_fingerprints_ignore_the_name_and_see_every_setting() -> None:
    changes: list[dict[str, Any]] = [
        {"decoder": "opencv"},
        {"colour": "bgr"},
        {"resize": "pillow-box"},
        {"geometry": "squash"},
        {"crop_fraction": 0.9},
        {"size": (224, 225)},
        {"mean": (0.4, 0.4, 0.4)},
        {"std": (0.4, 0.4, 0.4)},
        {"layout": "nhwc"},
        {"dtype": "uint8"},
        {"dtype": "float16"},
        {"size_rounding": "ceil"},
        {"crop_rounding": "floor"},
    ]

    fingerprints = {replace(TORCHVISION, **change).fingerprint for change in changes}

    assert len(fingerprints | {TORCHVISION.fingerprint}) == len(changes) + 1
    assert replace(TORCHVISION, name="other").fingerprint == TORCHVISION.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resizer": "x"}, "Unknown preset entry 'resizer'. Did you mean 'resize'"),
        ({"resize": "pillow-biliner"}, "Did you mean 'pillow-bilinear'"),
        ({"decoder": "PIL"}, "Unknown decoder 'PIL'"),
        ({"colour": "yuv"}, "Unknown colour"),
        ({"geometry": "fit"}, "Unknown geometry"),
        ({"layout": "hwc"}, "Unknown layout"),
        ({"dtype": "float64"}, "Unknown dtype"),
        ({"size_rounding": "floor"}, "Unknown size rounding 'floor'"),
        ({"crop_rounding": "round"}, "Unknown crop rounding 'round'"),
        ({"crop_fraction": 0}, "crop_fraction"),
        ({"crop_fraction": 1.5}, "crop_fraction"),
        ({"crop_fraction": "much"}, "crop_fraction"),
        ({"size": [0, 4]}, "Expected `size`"),
        ({"size": [4]}, "`size` cannot be"),
        ({"size": [4.5, 4]}, "`size` cannot be"),
        ({"size": True}, "`size` cannot be"),
        ({"mean": [0.1, 0.2]}, "`mean` cannot be"),
        ({"mean": "x"}, "`mean` cannot be"),
        ({"mean": float("nan")}, "finite `mean`"),
        ({"std": [0.1, 0.1, 0]}, "positive `std`"),
    ],
)
def test_bad_entries_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pipeline.from_mapping({**TORCHVISION.to_json(), **change})


def test_missing_entries_are_listed() -> None:
    with pytest.raises(InputError, match="lacks `resize`, `geometry`, `crop_fraction`, `size`, `mean`, `std`"):
        Pipeline.from_mapping({"name": "mine", "decoder": "pillow", "colour": "rgb"})


def test_a_toml_file_is_a_preset(tmp_path: Any) -> None:
    path = tmp_path / "camera.toml"
    path.write_text('base = "opencv-area"\ncolour = "bgr"\nsize = 96\nmean = 0.5\nstd = [0.5, 0.5, 0.25]\n')

    pipeline = find_preset(str(path))

    assert pipeline.name == "camera"
    assert (pipeline.resize, pipeline.colour, pipeline.size) == ("opencv-area", "bgr", (96, 96))
    assert (pipeline.mean, pipeline.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.25))
    assert find_preset(path) == pipeline


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size = ", "not readable as TOML"),
        ("\xff", "lacks|not readable"),
        ('base = "torchvison"', "Did you mean 'torchvision'"),
        ("base = 3", "Unknown base preset '3'"),
        ('base = "torchvision"\ncolor = "rgb"', "Did you mean 'colour'"),
        ("", "lacks"),
    ],
)
def test_bad_preset_files_are_named_with_their_fault(tmp_path: Any, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(InputError, match=message) as caught:
        find_preset(str(path))

    assert "bad.toml" in str(caught.value)


def test_unknown_presets_get_a_hint(tmp_path: Any) -> None:
    with pytest.raises(InputError, match=r"Unknown preset 'torchvison'\. Did you mean 'torchvision'"):
        find_preset("torchvison")
    with pytest.raises(InputError, match="does not exist"):
        find_preset(str(tmp_path / "none.toml"))
