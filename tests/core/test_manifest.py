from pathlib import Path

import pytest

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.manifest import Manifest, manifest_path, read_manifest

FULL = Manifest(
    preset="tflite-mobilenet", layout="nhwc", colour="rgb", range="0..255", kind="uint8-scores", offset=1, classes=1000
)


@pytest.mark.parametrize(
    "manifest",
    [FULL, Manifest(), Manifest(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 0.5)), Manifest(map=(3, 1, 2), preset='a "b"\\')],
)
def test_a_saved_manifest_is_read_back_equal(tmp_path: Path, manifest: Manifest):
    path = tmp_path / "a.target.toml"

    manifest.save(path)

    assert read_manifest(path) == manifest
    assert read_manifest(path).sha256 == manifest.sha256


def test_equal_settings_have_equal_hashes_and_others_do_not():
    assert Manifest(range="0..1").sha256 == Manifest(range="0..1").sha256
    assert Manifest(range="0..1").sha256 != Manifest(range="-1..1").sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[input]\nlayuot = 'nhwc'", "Did you mean 'layout'"),
        ("[inptu]", "Did you mean 'input'"),
        ("[input]\ncolour = 'rbg'", "Did you mean 'rgb'"),
        ("[input]\nrange = '0..2'", "Unknown range"),
        ("[input]\nrange = '0..1'\nmean = [0, 0, 0]\nstd = [1, 1, 1]", "either `range`"),
        ("[input]\nmean = [0, 0, 0]", "`mean` and `std` together"),
        ("[input]\nmean = [0, 0]\nstd = [1, 1]", "three numbers"),
        ("[input]\nmean = [0, 0, 0]\nstd = [1, 0, 1]", "`std` above 0"),
        ("[input]\nmean = [0, 0, 0]\nstd = [1, nan, 1]", "three numbers"),
        ("[input]\npreset = 3", "name or a file"),
        ("input = 3", "to be a table"),
        ("[output]\nkind = 'logit'", "Did you mean 'logits'"),
        ("[output]\noffset = -1", "whole numbers"),
        ("[output]\nclasses = true", "whole numbers"),
        ("[output]\nmap = 4", "whole numbers"),
        ("[output]\nmap = [1, 2]\noffset = 1", "either `map`"),
        ("[input", "not readable as TOML"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_name(tmp_path: Path, text: str, message: str):
    path = tmp_path / "wrong.toml"
    path.write_text(text)

    with pytest.raises(InputError, match=message) as caught:
        read_manifest(path)

    assert "wrong.toml" in str(caught.value)


def test_a_missing_manifest_is_the_users_mistake(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_manifest(tmp_path / "absent.toml")


def test_it_lies_beside_its_model():
    assert manifest_path(Path("a/m.tflite")) == Path("a/m.tflite.target.toml")


def test_class_maps_are_the_engines_indices():
    assert Manifest().class_map(10) is None
    assert Manifest(offset=1).class_map(4) == (1, 2, 3)
    assert Manifest(offset=1, classes=2).class_map(4) == (1, 2)
    assert Manifest(map=(3, 0)).class_map(4) == (3, 0)


@pytest.mark.parametrize("manifest", [Manifest(offset=1, classes=4), Manifest(map=(4, 0)), Manifest(offset=3)])
def test_a_class_that_the_engine_does_not_have_is_refused(manifest: Manifest):
    with pytest.raises(InputError, match="the engine gives 4 scores"):
        manifest.class_map(4)


def test_a_server_that_preprocesses_takes_pixels():
    server = Manifest(range="server")

    assert server.takes_pixels
    assert server.normalisation == Manifest(range="0..255").normalisation
