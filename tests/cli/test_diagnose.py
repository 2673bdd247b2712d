"""From an engine without papers to a manifest, and from the manifest to a measurement."""

import json
from pathlib import Path

import pytest

from robustmq_trt import assets
from robustmq_trt.cli.manifest import with_manifest
from robustmq_trt.core.manifest import Manifest, manifest_path, read_manifest

DATA = assets.images_dir("eval")


@pytest.fixture
def reference(engines: Path, tmp_path: Path) -> Path:
    """The embedded float model without its card: nothing says how it wants its images."""
    path = tmp_path / "unknown.onnx"
    path.write_bytes((engines / "embedded.fp32.onnx").read_bytes())
    return path


def _clean(command, target: object, folder: Path, *more: object) -> dict[str, object]:
    code, out, err = command(
        "evaluate", target, "--data", DATA, "--images", 60, "--corruption", "brightness:1", "--latency", 0,
        "--threads", 1, "-o", folder, "--json", "--quiet", *more,
    )  # fmt: skip
    assert code == 0, err
    return next(row for row in json.loads(out)["records"] if (row["condition"], row["metric"]) == ("clean", "accuracy"))


def test_a_found_manifest_measures_what_the_card_measures(command, engines: Path, reference: Path, tmp_path: Path):
    manifest = manifest_path(reference)

    code, out, _ = command("diagnose", reference, "--data", DATA, "--threads", 1, "-o", manifest, "--quiet")

    assert code == 0
    assert "proposed manifest" in out
    found = read_manifest(manifest)
    assert (found.range, found.colour, found.kind, found.offset) == ("imagenet", "rgb", "logits", 0)
    beside = _clean(command, reference, tmp_path / "a")
    assert beside["value"] == _clean(command, engines / "embedded.fp32.onnx", tmp_path / "b")["value"]
    assert beside["identity"] != {}


def test_evidence_is_one_json_document(command, reference: Path):
    code, out, _ = command("diagnose", reference, "--data", DATA, "--images", 24, "--json")

    document = json.loads(out)
    assert code == 0
    assert document["images"] == 24
    assert {row["question"] for row in document["evidence"]} == {"range", "colour", "offset"}


def test_chance_is_no_contract(command, reference: Path, tmp_path: Path):
    from robustmq_trt.inputs.sources import open_dataset

    rows = [(sample.name, (sample.label + 1) % 10) for sample in open_dataset(DATA).samples]
    table = tmp_path / "wrong.csv"
    table.write_text("file,label\n" + "".join(f"{name},{label}\n" for name, label in rows))

    code, out, err = command("diagnose", reference, "--data", DATA, "--labels", table, "-o", tmp_path / "m.toml")

    assert code == 1
    assert "better than chance" in err
    assert "proposed" not in out
    assert not (tmp_path / "m.toml").exists()


def test_a_wrong_colour_in_a_named_manifest_changes_the_answers(command, reference: Path, tmp_path: Path):
    for colour in ("rgb", "bgr"):
        Manifest(preset="torchvision", range="imagenet", colour=colour).save(tmp_path / f"{colour}.toml")

    rgb, bgr = (
        _clean(command, f"{reference}@{tmp_path / colour}.toml", tmp_path / colour)["value"]
        for colour in ("rgb", "bgr")
    )

    assert rgb > bgr


def test_a_target_with_its_manifest_can_be_audited(command, reference: Path, tmp_path: Path):
    Manifest(range="imagenet").save(tmp_path / "a.toml")

    code, out, _ = command("audit", f"{reference}@{tmp_path / 'a.toml'}", "--json")

    assert code == 0
    assert json.loads(out)["layers"]


def test_a_manifest_that_is_not_there_is_refused(refused, reference: Path):
    assert "Manifest 'absent.toml' does not exist" in refused("evaluate", f"{reference}@absent.toml", "--data", DATA)


def test_a_presets_file_is_looked_for_beside_the_manifest(tmp_path: Path):
    Manifest(preset="mine.toml").save(tmp_path / "a.toml")

    found = with_manifest(f"v2+http://host:8000/NAME@{tmp_path / 'a.toml'}")

    assert found.target == "v2+http://host:8000/NAME"
    assert found.manifest is not None
    assert found.manifest.preset == str(tmp_path / "mine.toml")


def test_a_target_without_manifest_stays_whole():
    assert with_manifest("openvino:a@b.onnx") == ("openvino:a@b.onnx", None)
