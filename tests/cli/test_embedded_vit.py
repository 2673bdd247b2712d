"""The embedded vision transformer through the whole walk: profiles, audit, corruption, transfer and query attack."""

import json
from pathlib import Path

import pytest

from robustmq_trt import assets
from robustmq_trt.cli.main import main

PROFILES = ("cpu-u8", "trt-s8")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with one folder per profile, each with the ViT in float and INT8."""
    folder = tmp_path_factory.mktemp("vit")
    for profile in PROFILES:
        calibration = ["--calib", assets.images_dir("calib"), "--calib-size", "16"]
        output = ["--profile", profile, "-o", folder / profile, "--threads", "1", "--quiet"]
        argv = ["build", assets.model_path("vit"), *calibration, *output]
        assert main([str(argument) for argument in argv]) == 0
        (folder / profile / "vit.w8a8.onnx").rename(folder / profile / f"{profile}.onnx")
        card = folder / profile / "vit.w8a8.onnx.card.json"
        card.rename(folder / profile / f"{profile}.onnx.card.json")
    return folder


@pytest.mark.parametrize("profile", PROFILES)
def test_every_multiplication_of_the_vit_is_integer_or_says_why_not(command, engines: Path, profile: str) -> None:
    code, out, err = command("audit", engines / profile / f"{profile}.onnx", "--json")

    assert code == 0, err
    audit = json.loads(out)
    assert {layer["operator"] for layer in audit["layers"]} >= {"Conv", "MatMul", "Gemm"}
    assert audit["integer_coverage"] > 0.85
    assert all(layer["reason"] for layer in audit["layers"] if layer["compute"] != "integer")


def test_the_vit_is_attacked_as_deployed(command, engines: Path, tmp_path: Path) -> None:
    targets = [engines / "cpu-u8" / "vit.fp32.onnx", *(engines / name / f"{name}.onnx" for name in PROFILES)]
    attacks = ("--attack", "mifgsm:eps=4,steps=3", "--attack", "square:eps=8,queries=40")

    code, out, err = command(
        *("evaluate", *targets, "--data", assets.images_dir("eval"), "--images", "16", "-o", tmp_path, "--json"),
        *("--latency", "0", "--threads", "1", "--corruption", "gaussian_noise:3", *attacks),
    )

    assert code == 0, err
    accuracy = {
        (record["engine"], record["condition"].partition(":")[0]): record["value"]
        for record in json.loads(out)["records"]
        if record["metric"] in ("accuracy", "robust_accuracy")
    }
    for engine in ("vit.fp32", *PROFILES):
        assert accuracy[engine, "clean"] >= 0.75
        assert accuracy[engine, "mifgsm"] < accuracy[engine, "clean"]
        assert accuracy[engine, "square"] < accuracy[engine, "clean"]
