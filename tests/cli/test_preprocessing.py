"""`preprocessing` from the command line, on the embedded engines and images."""

import json

import pytest

from robustmq_trt import assets
from robustmq_trt.cli import preprocessing

EVAL = assets.images_dir("eval")


def on_targets(engines, experiment, *more):
    targets = (engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx")
    return ("preprocessing", experiment, *targets, "--data", EVAL, "--images", "12", "--threads", "1", *more)


def test_the_grid_gives_every_cell_for_every_engine_and_answers_claims(command, engines, tmp_path):
    code, out, _ = command(*on_targets(engines, "grid", "--json", "-o", tmp_path / "grid.json"))

    document = json.loads(out)
    assert code == 0
    assert json.loads((tmp_path / "grid.json").read_text()) == document
    cells = {(r["engine"], r["condition"]) for r in document["records"] if r["metric"] == "accuracy"}
    assert len(cells) == 2 * 33
    assert {r["n"] for r in document["records"]} == {12}
    # Two parts for each engine, and INT8 against float; one quantized engine makes no ladder of bits.
    assert len(document["claims"]) == 5
    assert {found["answer"] for found in document["claims"]} <= {"yes", "no", "not distinguishable"}


def test_the_claims_on_corruptions_come_from_an_evaluated_run(command, engines, tmp_path):
    names = ("impulse_noise", "glass_blur", "fog", "brightness")
    corruptions = [word for name in names for word in ("--corruption", f"{name}:5")]
    targets = (engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx")
    run = ("--data", EVAL, "--images", "40", *corruptions, "-o", tmp_path / "run", "--quiet", "--latency", "0")
    assert command("evaluate", *targets, *run)[0] == 0

    code, out, _ = command(*on_targets(engines, "grid", "--corruptions", tmp_path / "run"))

    assert code == 0
    assert "impulse noise and glass blur are the worst corruptions (embedded.w8a8, n 40)" in out
    assert "embedded.w8a8 is less accurate than embedded.fp32 under natural noise" in out


def test_every_quality_is_compared_with_the_stored_files_and_with_float(command, engines):
    code, out, _ = command(*on_targets(engines, "quality", "--qualities", "95,10", "--json"))

    records = json.loads(out)["records"]
    assert code == 0
    assert {r["condition"] for r in records} == {"stored", "jpeg:95", "jpeg:10"}
    changes = [r["comparison"]["reference"] for r in records if r["metric"] == "accuracy_change"]
    assert changes == ["stored"] * 4
    assert [r["engine"] for r in records if r["metric"] == "drop_difference"] == ["embedded.w8a8"] * 2


def mismatch(*more):
    known = ("--calib", assets.images_dir("calib"), "--data", EVAL, "--images", "12", "--calib-size", "16")
    return ("preprocessing", "mismatch", assets.model_path(), *known, "--threads", "1", *more)


def test_the_matrix_has_an_engine_for_every_preset_and_a_column_for_every_preset(command):
    code, out, _ = command(*mismatch("--presets", "torchvision,opencv-nearest"))

    assert code == 0
    rows = [line.split("  ")[0] for line in out.splitlines()[3:6]]
    assert rows == ["float", "calibrated torchvision", "calibrated opencv-nearest"]
    assert "served torchvision" in out
    assert "served opencv-nearest" in out


def test_no_served_image_is_calibrated_with(command):
    code, out, _ = command(
        *("preprocessing", "mismatch", assets.model_path(), "--calib", EVAL, "--data", EVAL, "--calib-size", "190"),
        *("--presets", "torchvision,opencv-area", "--threads", "1", "--json"),
    )

    assert code == 0
    assert {r["n"] for r in json.loads(out)["records"]} == {10}


def test_an_undecodable_image_is_named_and_makes_the_run_partial(command, engines, tmp_path):
    folder = tmp_path / "images" / "balloon"
    folder.mkdir(parents=True)
    (folder / "good.jpg").write_bytes(next((EVAL / "balloon").glob("*.jpg")).read_bytes())
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")

    targets = (engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx")
    code, out, _ = command("preprocessing", "quality", *targets, "--data", tmp_path / "images", "--threads", "1")

    assert code == 3
    assert "left out: balloon/torn.jpg" in out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--qualities", "0"), "1..100"),
        (("--qualities", "high"), "1..100"),
        (("--qualities", "95,,10"), "1..100"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_bad_qualities_and_folders_are_refused_in_a_sentence(refused, engines, more, said):
    assert said in refused(*on_targets(engines, "quality", *more))


def test_a_run_without_the_claimed_corruptions_is_refused_before_anything_is_served(
    command, refused, engines, tmp_path, monkeypatch
):
    run = ("--data", EVAL, "--images", "4", "--corruption", "fog:1", "-o", tmp_path, "--quiet", "--latency", "0")
    assert command("evaluate", engines / "embedded.fp32.onnx", *run)[0] == 0
    monkeypatch.setattr(preprocessing, "serve", None)

    assert "'impulse_noise', which was not measured" in refused(*on_targets(engines, "grid", "--corruptions", tmp_path))


def test_a_folder_without_results_is_refused_before_anything_is_served(refused, engines, tmp_path):
    assert "results.sqlite" in refused(*on_targets(engines, "grid", "--corruptions", tmp_path))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--presets", "nothing"), "nothing"),
        (("--presets", "torchvision"), "two presets"),
        (("--method", "magic"), "magic"),
        (("--bits", "9"), "2..8"),
        (("--calib", "nowhere"), "nowhere"),
    ],
)
def test_bad_settings_of_the_matrix_are_refused_in_a_sentence(refused, more, said):
    assert said in refused(*mismatch(*more))


def test_a_planted_picture_fools_the_preset_it_is_made_for_and_not_the_defence(command, engines):
    presets = ("--presets", "opencv-linear,opencv-area", "--pairs", "5", "--factor", "5", "--reductions", "2")

    code, out, _ = command(*on_targets(engines, "scaling", *presets, "--json"))

    document = json.loads(out)
    found = {(r["engine"], r["condition"], r["metric"]): r for r in document["records"]}
    assert code == 0
    for engine in ("embedded.fp32", "embedded.w8a8"):
        fooled = found[engine, "opencv-linear, served opencv-linear", "attack_success"]
        defended = found[engine, "opencv-linear, served opencv-area", "attack_success"]
        assert fooled["n"] >= 3
        assert (fooled["value"], defended["value"]) == (1, 0)
        assert found[engine, "opencv-linear, served opencv-area", "survived"]["value"] == 1
    change = {name: found["pictures", name, "source_change"]["value"] for name in ("opencv-linear", "opencv-area")}
    assert change["opencv-linear"] < change["opencv-area"] / 1.5
    assert {figure["factor"] for figure in document["leverage"]} == {2}


def test_without_engines_the_leverage_of_every_resizer_is_told(command):
    code, out, _ = command("preprocessing", "scaling", "--reductions", "2")

    assert code == 0
    assert "opencv-area" in out
    assert "energy ratio" in out


@pytest.mark.parametrize(
    ("more", "said"),
    [(("--reductions", "1"), "2..64"), (("--data", EVAL), "together"), (("model.onnx",), "together")],
)
def test_bad_settings_of_the_attack_are_refused_in_a_sentence(refused, more, said):
    assert said in refused("preprocessing", "scaling", *more)


@pytest.mark.parametrize("broken", ["embedded.fp32", "embedded.w8a8"])
@pytest.mark.parametrize("experiment", ["grid", "quality", "scaling"])
def test_an_engine_that_dies_is_a_row_beside_the_others_numbers(
    command, engines, fragile, tmp_path, experiment, broken
):
    fragile(engines / f"{broken}.onnx", 2)
    settings = ("--pairs", "3", "--presets", "opencv-area", "--reductions", "2") if experiment == "scaling" else ()

    code, out, _ = command(*on_targets(engines, experiment, *settings, "-o", tmp_path / "found.json"))

    records = json.loads((tmp_path / "found.json").read_text())["records"]
    assert code == 3
    assert {flag for r in records if r["engine"] == broken for flag in r["flags"]} == {"failed: The engine died."}
    assert any(r["n"] for r in records if r["engine"].startswith("embedded") and r["engine"] != broken)
    assert "failed: The engine died." in out
    assert "nan" not in out


def test_engines_can_be_isolated(command, engines):
    few = ("--qualities", "50", "--json")

    plain, apart = (command(*on_targets(engines, "quality", *few, *flags)) for flags in ((), ("--isolate",)))

    assert (plain[0], apart[0]) == (0, 0)
    assert json.loads(apart[1]) == json.loads(plain[1])


def test_a_preset_with_a_border_is_refused(refused, engines):
    more = ("--presets", "letterbox.toml", "--pairs", "1", "--reductions", "2")
    assert "letterbox" in refused(*on_targets(engines, "scaling", *more))


def test_an_experiment_that_is_none_is_refused(refused):
    assert "magic" in refused("preprocessing", "magic")
