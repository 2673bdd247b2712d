"""`evaluate`: records with everything that identifies them, a report, and refusals in sentences."""

import importlib.util
import json
import shutil
import sys

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from robustmq_trt import assets

FEW = ("--latency", "0", "--threads", "1")
MILD = ("--json", *FEW, "--corruption", "jpeg:1")


@pytest.fixture
def pair(engines):
    return engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx"


def evaluated(command, pair, folder, *options):
    code, out, err = command(
        "evaluate", *pair, "--data", assets.images_dir("eval"), "-o", folder, "--json", *FEW, *options
    )
    assert code == 0, err
    return json.loads(out)


def test_records_carry_interval_n_seed_flags_and_comparison(command, pair, tmp_path):
    result = evaluated(command, pair, tmp_path, "--images", "40", "--corruption", "jpeg:3", "--attack", "mifgsm:eps=2")

    assert {"engine", "condition", "metric", "value", "low", "high", "n", "seed", "flags"} <= set(result["records"][0])
    conditions = {record["condition"] for record in result["records"]}
    assert conditions >= {"clean", "jpeg:3", "mifgsm:eps=2,steps=10"}
    int8 = [r for r in result["records"] if r["engine"] == "embedded.w8a8" and r["metric"] == "accuracy"]
    assert all(r["comparison"]["reference"] == "embedded.fp32" for r in int8)
    assert all(r["low"] <= r["value"] <= r["high"] and r["n"] == 40 for r in int8)


def test_the_report_and_its_data_lie_in_the_run_folder(command, pair, tmp_path):
    result = evaluated(command, pair, tmp_path, "--images", "8", "--shift", "opencv-nearest")

    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "report.json").read_text())["format"] == "robustmq-report/1"
    assert result["totals"] == {"cells": 4, "measured": 4, "skipped": 0, "failed": 0, "reasons": []}


def test_a_folder_used_again_reports_nothing_of_engines_that_are_not_in_the_run(command, pair, tmp_path):
    timed = ("--data", assets.images_dir("eval"), "-o", tmp_path, "--images", "4", "--suite", "clean", "--threads", "1")
    assert command("evaluate", *pair, *timed, "--latency", "0.01")[0] == 0
    kept = command("evaluate", *pair, *timed, "--latency", "0", "--corruption", "jpeg:1", "--json")[1]
    fresh = command("evaluate", pair[1], *timed, "--latency", "0", "--json")[1]

    assert json.loads(kept)["latency"]
    assert not json.loads(fresh)["latency"]


def test_what_is_not_measured_is_printed_with_its_reason(command, pair, tmp_path, fragile):
    shutil.copytree(assets.images_dir("eval") / "boat", tmp_path / "images" / "boat")
    (tmp_path / "images" / "boat" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    fragile(pair[1], 2)  # the clean images and the first corruption
    shown = ("--corruption", "jpeg:1", "--corruption", "frost:1", "--corruption", "jpeg:3")

    code, out, _ = command("evaluate", *pair, "--data", tmp_path / "images", "-o", tmp_path / "run", *FEW, *shown)

    assert code == 3
    assert "not measured: frost:1 on embedded.fp32, frost:1 on embedded.w8a8: " in out
    assert "not measured: jpeg:3 on embedded.w8a8: failed: The engine died." in out
    assert "left out: boat/torn.jpg: " in out


def test_an_engine_that_fails_while_it_is_timed_is_a_row_of_the_report(command, pair, tmp_path, fragile):
    fragile(pair[1], 30)
    asked = ("--data", assets.images_dir("eval"), "--images", "8", "--latency", "0.01", "--threads", "1")

    code, out, _ = command("evaluate", *pair, *asked, "--corruption", "jpeg:1", "-o", tmp_path / "run")

    assert code == 3
    assert "latency, single-stream, engine on embedded.w8a8" in out
    assert out.count("failed: The engine died.") == 1
    document = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {row["engine"] for row in document["latency"] if row["verdict"] != "failed"} == {"embedded.fp32"}
    assert "failed: The engine died." in (tmp_path / "run" / "report.html").read_text()


def test_the_report_of_another_run_in_the_folder_is_renamed_and_its_own_is_replaced(command, pair, tmp_path):
    asked = ("evaluate", *pair, "--data", assets.images_dir("eval"), "--images", "8", *FEW, "-o", tmp_path)
    command(*asked, "--corruption", "jpeg:1")
    first = (tmp_path / "report.json").read_bytes()

    again = command(*asked, "--corruption", "jpeg:1")
    other = command(*asked, "--corruption", "jpeg:3")

    (kept,) = tmp_path.glob("report-*.json")
    conditions = [{r["condition"] for r in json.loads(text)["records"]} for text in (first, kept.read_bytes())]
    assert conditions[0] == conditions[1]
    assert kept.with_suffix(".html").exists()
    assert "holds another run" not in again[2]
    assert f"whose report is '{kept.name}' now" in other[2]


def test_folders_that_are_numbers_are_said_to_sort_as_text(command, pair, tmp_path):
    for number, kind in enumerate(sorted(path for path in assets.images_dir("eval").iterdir() if path.is_dir()), 1):
        (tmp_path / "data" / str(number)).mkdir(parents=True)
        shutil.copy(next(kind.iterdir()), tmp_path / "data" / str(number))
    few = ("--data", tmp_path / "data", "--suite", "clean", "-o", tmp_path / "run")

    err = command("evaluate", pair[0], *few, *FEW)[2]

    assert "Folder '1' is taken to be class 0" in err


def test_classes_that_the_data_lack_are_said_to_shift_the_others(command, pair, tmp_path):
    kinds = sorted(path for path in assets.images_dir("eval").iterdir() if path.is_dir())[3:5]
    for kind in kinds:
        (tmp_path / "data" / kind.name).mkdir(parents=True)
        shutil.copy(next(kind.iterdir()), tmp_path / "data" / kind.name)
    few = ("--data", tmp_path / "data", "--suite", "clean", "-o", tmp_path / "run")

    err = command("evaluate", pair[0], *few, *FEW)[2]

    assert "order of their text" not in err
    assert f"10 scores for 2 classes; class 0 is taken to be '{kinds[0].name}'" in err


def test_report_and_diff_need_the_run_folder_only(command, refused, pair, tmp_path):
    evaluated(command, pair, tmp_path, "--images", "8", "--corruption", "gaussian_noise:5")
    (tmp_path / "report.html").unlink()

    assert command("report", tmp_path)[0] == 0
    assert (tmp_path / "report.html").exists()
    code, out, _ = command("diff", tmp_path, "--json")
    assert code == 0
    assert [entry["n"] for entry in json.loads(out)["conditions"]] == [8, 8]
    refused("diff", tmp_path, "embedded.fp32", "other")
    assert "Expected two engines" in refused("diff", tmp_path, "embedded.fp32")
    refused("report", tmp_path / "nothing")


def test_calibration_images_are_left_out(command, pair, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(assets.images_dir("calib"), both)
    calibrated = json.loads(pair[1].with_name("embedded.w8a8.calibration.json").read_text())
    count = sum(1 for path in both.rglob("*.jpg"))

    code, out, err = command(
        "evaluate", *pair, "--data", both, "-o", tmp_path / "run", "--json", *FEW, "--corruption", "jpeg:1"
    )

    assert code == 0
    assert f"{len(calibrated)} images were used for calibration" in err
    assert {record["n"] for record in json.loads(out)["records"]} == {count - len(calibrated)}


def test_an_undecodable_image_is_counted_with_its_reason(command, pair, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(assets.images_dir("eval"), data)
    victim = next(data.rglob("*.jpg"))
    victim.write_bytes(victim.read_bytes()[:300])

    code, out, _ = command(
        "evaluate", *pair, "--data", data, "-o", tmp_path / "run", "--json", *FEW, "--corruption", "jpeg:1"
    )

    assert code == 0
    assert {r["n"] for r in json.loads(out)["records"] if r["metric"] == "accuracy"} == {199}
    failures = json.loads((tmp_path / "run" / "report.json").read_text())["dataset"]["failures"]
    assert [failure["name"] for failure in failures] == [victim.relative_to(data).as_posix()]
    assert failures[0]["reason"]


def test_a_transfer_attack_without_a_gradient_rule_is_a_skipped_cell(command, pair, tmp_path):
    model = onnx.load(pair[0])
    output = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Hardmax", [output], ["tail"]))
    model.graph.output[0].name = "tail"
    onnx.save(model, tmp_path / "hard.onnx")

    code, out, _ = command(
        *("evaluate", tmp_path / "hard.onnx", "--data", assets.images_dir("eval"), "--images", "8"),
        *("-o", tmp_path, "--json", *FEW, "--attack", "mifgsm:eps=2"),
    )

    totals = json.loads(out)["totals"]
    assert code == 0
    assert totals["skipped"] == 1
    assert "Hardmax" in totals["reasons"][0]["reason"]


def test_an_integer_engine_alone_is_attacked_with_its_own_straight_through_gradients(command, pair, tmp_path):
    code, out, _ = command(
        *("evaluate", pair[1], "--data", assets.images_dir("eval"), "--images", "16", "-o", tmp_path, "--json", *FEW),
        *("--attack", "mifgsm:eps=8"),
    )

    records = {r["metric"]: r for r in json.loads(out)["records"] if r["condition"].startswith("mifgsm")}
    assert code == 0
    assert records["adversarial_robustness"]["value"] < 0.2
    assert records["robust_accuracy"]["flags"] == []


def test_the_surrogate_may_be_named(command, pair, tmp_path):
    code, out, _ = command(
        *("evaluate", pair[1], "--data", assets.images_dir("eval"), "--images", "8", "-o", tmp_path, "--json", *FEW),
        *("--attack", "fgsm:eps=4", "--surrogate", pair[0]),
    )

    assert code == 0
    assert json.loads(out)["totals"]["skipped"] == 0


def test_several_surrogates_are_an_ensemble(command, pair, tmp_path):
    result = evaluated(
        *(command, pair, tmp_path, "--images", "8", "--attack", "fgsm:eps=4"),
        *("--surrogate", pair[0], "--surrogate", pair[1]),
    )

    attacked = [record for record in result["records"] if record["metric"] == "robust_accuracy"]
    hashes = attacked[0]["identity"]["surrogate"].split("+")
    assert [len(sha256) for sha256 in hashes] == [64, 64]
    assert result["totals"]["skipped"] == 0


def test_a_twin_that_answers_unlike_its_engine_leaves_rows_with_the_reason(command, pair, tmp_path, monkeypatch):
    monkeypatch.setattr("robustmq_trt.evaluate.twin.agreement.GATE", 1.1)

    result = evaluated(command, pair, tmp_path, "--images", "8", "--attack", "fgsm:eps=4")

    assert result["totals"]["skipped"] == 2
    assert "those of another model" in result["totals"]["reasons"][0]["reason"]


def test_the_transfer_matrix_shows_every_source_to_every_engine(command, pair, refused):
    data = ("--data", assets.images_dir("eval"), "--images", "6", "--threads", "1", "--attack", "fgsm:eps=4")
    ensemble = ("--surrogate", pair[0], "--surrogate", pair[1], "--ensemble")

    code, out, _ = command("transfer-matrix", *pair, *data, *ensemble, "--survival", "--json")

    records = json.loads(out)["records"]
    assert code == 0
    assert sum(record["metric"] == "transfer" for record in records) == 5 * 2
    assert sum(record["metric"] == "twin_agreement" for record in records) == 2
    assert {r["condition"].partition(" via ")[2] for r in records if r["metric"] == "survival"} == {
        *("lossless", "jpeg:95", "jpeg:90", "jpeg:75")
    }
    refused("transfer-matrix", *pair, *data, "--surrogate", pair[0], "--ensemble")
    refused("transfer-matrix", *pair, *data[:-1], "square:eps=4")


def test_survival_judges_every_attack_on_every_route_beside_clean_images(command, pair, tmp_path):
    attacks = ("--images", "12", "--attack", "mifgsm:eps=8", "--attack", "square:eps=40,queries=30")
    routes = ("--survival", "opencv-nearest")
    evaluated(command, pair, tmp_path / "resumed", *attacks)

    whole = evaluated(command, pair, tmp_path / "whole", *attacks, *routes)
    resumed = evaluated(command, pair, tmp_path / "resumed", *attacks, *routes)

    assert resumed["records"] == whole["records"]
    found = {(r["engine"], r["condition"], r["metric"]): r["value"] for r in whole["records"]}
    for engine in ("embedded.fp32", "embedded.w8a8"):
        for attack in ("mifgsm:eps=8,steps=10", "square:eps=40,queries=30"):
            assert found[engine, f"{attack} via lossless", "survival"] == 1
            assert (
                found[engine, f"{attack} via lossless", "robust_accuracy"] == found[engine, attack, "robust_accuracy"]
            )
            for route in ("jpeg:95", "jpeg:90", "jpeg:75", "preset:opencv-nearest"):
                control = found[engine, f"clean via {route}", "accuracy"]
                assert found[engine, f"{attack} via {route}", "clean_accuracy"] == control
    assert "What survives re-encoding" in (tmp_path / "whole" / "report.html").read_text()
    assert "clean accuracy on the same route" in (tmp_path / "whole" / "report.html").read_text()


def test_the_robustmq_suite_names_the_cells_it_cannot_measure(command, pair, tmp_path):
    result = evaluated(command, pair, tmp_path, "--images", "2", "--suite", "robustmq")

    reasons = {entry["cell"]: entry["reason"] for entry in result["totals"]["reasons"]}
    assert result["totals"]["cells"] == result["totals"]["measured"] + result["totals"]["skipped"]
    assert "half a grey level" in reasons["fgsm:eps=0.5/255 on embedded.w8a8"]
    if importlib.util.find_spec("imagecorruptions") is None:
        assert "--frost-dir" in reasons["frost:3 on embedded.fp32"]


def test_a_preset_whose_package_is_missing_is_a_row_with_the_install_line(command, pair, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)

    result = evaluated(command, pair, tmp_path, "--images", "2", "--shift", "ffmpeg", "--shift", "dali")

    reasons = {entry["cell"]: entry["reason"] for entry in result["totals"]["reasons"]}
    assert set(reasons) == {"preset:ffmpeg on embedded.fp32", "preset:ffmpeg on embedded.w8a8"}
    assert "pip install 'robustmq-trt[decoders]'" in reasons["preset:ffmpeg on embedded.fp32"]
    assert result["totals"]["skipped"] == 2


def test_a_survival_preset_whose_package_is_missing_is_a_skipped_row(command, pair, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)

    result = evaluated(command, pair, tmp_path, "--images", "2", "--attack", "fgsm:eps=4", "--survival", "ffmpeg")

    reasons = {entry["cell"]: entry["reason"] for entry in result["totals"]["reasons"]}
    assert sorted(reasons) == [
        f"{name} via preset:ffmpeg on embedded.{precision}"
        for name in ("clean", "fgsm:eps=4")
        for precision in ("fp32", "w8a8")
    ]
    assert all("pip install 'robustmq-trt[decoders]'" in reason for reason in reasons.values())
    assert (result["totals"]["skipped"], result["totals"]["failed"]) == (4, 0)


def test_npz_data_gives_the_same_answers_as_the_files_it_was_made_from(command, pair, tmp_path):
    paths = sorted(assets.images_dir("eval").rglob("*.jpg"))[::25]
    images = [np.asarray(Image.open(path).convert("RGB").resize((73, 73), Image.Resampling.BILINEAR)) for path in paths]
    folders = [path.parent.name for path in paths]
    labels = np.array([assets.class_names().index(name) for name in folders])
    np.savez(tmp_path / "data.npz", images=np.stack(images), labels=labels)

    code, out, _ = command(
        "evaluate", *pair, "--data", tmp_path / "data.npz", "-o", tmp_path, "--json", *FEW, "--corruption", "jpeg:1"
    )

    assert code == 0
    assert json.loads(out)["records"][0]["n"] == len(paths)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--attack", "sqare:eps=8"], "Did you mean 'square'"),
        (["--attack", "square:eps=0.5"], "whole number above 0"),
        (["--attack", "square:epsilon=8"], "Unknown setting"),
        (["--attack", "square:eps=256"], "1..255"),
        (["--corruption", "fogg:3"], "Unknown corruption"),
        (["--corruption", "jpeg:6"], "severity in 1..5"),
        (["--shift", "opencv"], "Unknown preset"),
        (["--survival", "opencv"], "Unknown preset"),
        (["--preset", "missing.toml"], "does not exist"),
        (["--images", "0"], "above 0"),
        (["--labels", "missing.csv"], "missing.csv"),
    ],
)
def test_wrong_settings_are_refused_with_a_hint(refused, pair, tmp_path, options, word):
    message = refused("evaluate", *pair, "--data", assets.images_dir("eval"), "-o", tmp_path / "run", *options)

    assert word in message


def test_data_that_does_not_fit_is_refused(refused, pair, tmp_path):
    empty, labelled = tmp_path / "empty", tmp_path / "labelled"
    empty.mkdir()
    labelled.mkdir()
    shutil.copy(next(assets.images_dir("eval").rglob("*.jpg")), labelled / "a.jpg")
    (labelled / "labels.csv").write_text("file,label\na.jpg,10\n")

    refused("evaluate", *pair, "--data", empty)
    refused("evaluate", *pair, "--data", tmp_path / "missing")
    assert "0..9" in refused("evaluate", *pair, "--data", labelled, "-o", tmp_path / "run")
    (labelled / "labels.csv").write_text("picture;class\n")
    assert "labels.csv" in refused("evaluate", *pair, "--data", labelled)


def test_targets_that_do_not_fit_are_refused(refused, pair, tmp_path):
    data = ("--data", assets.images_dir("eval"))

    refused("evaluate", tmp_path / "missing.onnx", *data)
    refused("evaluate", tmp_path / "missing.plan", *data)
    assert "Name each file once" in refused("evaluate", pair[0], pair[0], *data)
    changed = tmp_path / pair[1].name
    shutil.copy(pair[0], changed)
    shutil.copy(pair[1].with_name(f"{pair[1].name}.card.json"), tmp_path)
    assert "not the file its card describes" in refused("evaluate", changed, *data)


def test_a_foreign_results_file_is_refused(refused, pair, tmp_path):
    (tmp_path / "results.sqlite").write_bytes(b"something else entirely" * 100)

    assert "results file" in refused("evaluate", *pair, "--data", assets.images_dir("eval"), "-o", tmp_path, *FEW)
