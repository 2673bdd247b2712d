"""`corrupt`: the tree it writes, what it keeps, and what it says about images it cannot read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from robustmq_trt import assets
from robustmq_trt.core.files import sha256_file
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.corruptions.catalog import IMAGENET_C_BAR, corrupt_with, corruption_task
from robustmq_trt.evaluate.suites import corruption_condition, suite
from robustmq_trt.inputs.decode import decode


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three images in two classes."""
    sources = sorted(assets.images_dir("eval").rglob("*.jpg"))[::80][:3]
    for number, source in enumerate(sources):
        path = tmp_path / "pictures" / ("ant" if number < 2 else "bee") / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
    return tmp_path / "pictures"


def test_the_tree_holds_each_corruption_severity_class_and_file(command, pictures, tmp_path):
    code, out, _ = command(
        *("corrupt", pictures, tmp_path / "out", "--name", "fog,jpeg", "--severity", "1,5", "--json", "--quiet")
    )

    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert code == 0
    assert json.loads(out)["written"] == len(files) == 12
    assert files[0] == "fog/1/ant/0.jpg.png"
    assert files[-1] == "jpeg/5/bee/2.jpg.png"


def test_the_pixels_are_those_that_evaluate_shows_an_engine(command, pictures, tmp_path):
    command("corrupt", pictures, tmp_path / "out", "--name", "gaussian_noise", "--severity", "3", "--seed", "7")

    source = pictures / "bee" / "2.jpg"
    image = decode(source.read_bytes())
    parameters = "cifar10-c" if min(image.shape[:2]) <= 64 else "imagenet-c"
    rng = image_stream(7, corruption_task("gaussian_noise", 3, parameters), sha256_file(source))
    expected = corrupt_with(image, "gaussian_noise", 3, rng, parameters)
    written = np.asarray(Image.open(tmp_path / "out" / "gaussian_noise" / "3" / "bee" / "2.jpg.png"))
    np.testing.assert_array_equal(written, expected)


def test_stored_as_jpeg_the_files_keep_their_names_and_quality_85(command, pictures, tmp_path):
    for storage in ("raw", "jpeg85"):
        command(
            *("corrupt", pictures, tmp_path / storage, "--name", "brightness", "--severity", "2"),
            *("--storage", storage, "--preset", "cifar10"),
        )

    raw = cv2.imread(str(tmp_path / "raw" / "brightness" / "2" / "ant" / "1.jpg.png"))
    _, encoded = cv2.imencode(".jpg", raw, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert (tmp_path / "jpeg85" / "brightness" / "2" / "ant" / "1.jpg").read_bytes() == encoded.tobytes()
    assert raw.shape == (32, 32, 3)


def test_what_is_there_is_kept_and_the_rest_is_added(command, pictures, tmp_path):
    first = ("corrupt", pictures, tmp_path / "out", "--name", "contrast", "--severity", "1", "--json")
    command(*first)
    kept = tmp_path / "out" / "contrast" / "1" / "ant" / "0.jpg.png"
    before = kept.stat().st_mtime_ns
    (tmp_path / "out" / "contrast" / "1" / "ant" / "1.jpg.png").unlink()

    _, out, _ = command(*first)

    document = json.loads(out)
    assert (document["written"], document["kept"]) == (1, 2)
    assert kept.stat().st_mtime_ns == before
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_folder_made_otherwise_is_refused(command, refused, pictures, tmp_path):
    command("corrupt", pictures, tmp_path / "out", "--name", "contrast", "--severity", "1")

    assert "corrupted otherwise" in refused(
        "corrupt", pictures, tmp_path / "out", "--name", "contrast", "--severity", "1", "--seed", "1"
    )


def test_a_folder_whose_recipe_is_damaged_is_refused(refused, pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "corrupt.json").write_text("{")

    sentence = refused("corrupt", pictures, tmp_path / "out", "--name", "contrast", "--severity", "1")

    assert "cannot be read as JSON" in sentence


def test_undecodable_images_are_counted_and_named(command, pictures, tmp_path):
    (pictures / "ant" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")

    code, out, _ = command("corrupt", pictures, tmp_path / "out", "--name", "contrast,fog", "--severity", "1", "--json")

    document = json.loads(out)
    assert code == 3
    assert document["written"] == 6
    assert [entry["name"] for entry in document["undecodable"]] == ["ant/broken.jpg"]


def test_the_second_family_is_written_by_its_name(command, pictures, tmp_path):
    code, out, _ = command(
        *("corrupt", pictures, tmp_path / "out", "--name", "imagenet-c-bar", "--severity", "2", "--images", "1"),
        *("--preset", "cifar10", "--json", "--quiet"),
    )

    assert code == 0
    assert json.loads(out)["corruptions"] == list(IMAGENET_C_BAR)
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == set(IMAGENET_C_BAR)


def test_the_suite_of_the_second_family_is_its_ten_at_five_severities():
    first, *corrupted = suite("imagenet-c-bar")

    assert first.label == "clean"
    assert [c.label for c in corrupted] == [f"{name}:{severity}" for name in IMAGENET_C_BAR for severity in range(1, 6)]
    assert not {c.name for c in suite("imagenet-c")} & set(IMAGENET_C_BAR)
    assert corruption_condition("sparkles:5") in corrupted


def test_all_names_what_it_leaves_out(command, pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "imagecorruptions", None)

    code, out, _ = command("corrupt", pictures, tmp_path / "out", "--severity", "1", "--images", "1", "--json")

    document = json.loads(out)
    assert code == 3
    assert document["written"] == 14
    assert "--frost-dir" in document["skipped"]["frost"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--name", "frogs"), "Unknown corruption 'frogs'. Did you mean 'frost'"),
        (("--severity", "1,6"), "Expected severities in 1..5, got '6'"),
        (("--frost-dir", "nowhere"), "photograph of frost"),
    ],
)
def test_wrong_words_are_refused(refused, pictures, tmp_path, flags, words):
    assert words in refused("corrupt", pictures, tmp_path / "out", *flags)
