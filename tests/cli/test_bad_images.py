from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from robustmq_trt import assets

FEW = ("--latency", "0", "--threads", "1", "--corruption", "jpeg:1")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('camera = "nv12"', "Unknown camera 'nv12'"),
        ('exif = "on"', "Unknown EXIF policy 'on'. Known: applied, ignored"),
        ("reduced_decoding = 2", "Preset entry `reduced_decoding` cannot be 2: it is either true or false"),
        ('decoder = "turbo-dct"', "Unknown decoder 'turbo-dct'. Did you mean 'turbo-fast-dct'"),
    ],
)
def test_bad_preset_files_are_a_sentence(refused, tmp_path, entry, message):
    (tmp_path / "mine.toml").write_text(f'base = "torchvision"\n{entry}\n')

    sentence = refused(
        "evaluate", assets.model_path(), "--data", assets.images_dir("eval"), "--preset", tmp_path / "mine.toml", *FEW
    )

    assert f"mine.toml': {message}" in sentence


def test_data_of_which_nothing_decodes_is_a_sentence(refused, tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "broken.jpg").write_bytes(b"\xff\xd8\xff")

    run = ("evaluate", assets.model_path(), "--data", tmp_path / "data", "-o", tmp_path / "run")
    assert "None of the 2 images can be decoded; the first: A JPEG file has a damaged header" in refused(*run, *FEW)
    assert "No image of the data set can be decoded" in refused(*run, "--suite", "quick")


def test_a_file_unlike_its_declared_hash_is_counted(command, tmp_path):
    shutil.copytree(assets.images_dir("eval"), tmp_path / "data")
    files = sorted((tmp_path / "data").rglob("*.jpg"))[:6]
    hashes = ["0" * 64, *(hashlib.sha256(path.read_bytes()).hexdigest() for path in files[1:])]
    names = [path.relative_to(tmp_path / "data").as_posix() for path in files]
    rows = [f"{name},0,{sha256}" for name, sha256 in zip(names, hashes, strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,sha256", *rows]))

    code, out, _ = command(
        *("evaluate", assets.model_path(), "--data", tmp_path / "data", "--labels", tmp_path / "labels.csv"),
        *("-o", tmp_path / "run", "--json", *FEW),
    )

    assert code == 0
    assert {record["n"] for record in json.loads(out)["records"]} == {5}
    assert "Restore it" in (tmp_path / "run" / "report.json").read_text()
