"""`transfer-matrix` from the command line: whatever breaks costs its own cells alone."""

import json

from robustmq_trt import assets


def matrix(engines, *more):
    targets = (engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx")
    attack = ("--data", assets.images_dir("eval"), "--images", "6", "--attack", "fgsm:eps=4", "--threads", "1")
    return ("transfer-matrix", *targets, *attack, *more)


def test_an_engine_that_dies_leaves_the_other_cells_and_makes_the_run_partial(command, engines, fragile):
    fragile(engines / "embedded.w8a8.onnx", 2)  # the clean images and the first source's examples

    code, out, _ = command(*matrix(engines, "--json"))

    records = json.loads(out)["records"]
    assert code == 3
    assert [(r["engine"], r["n"] > 0) for r in records if r["metric"] == "transfer"] == [
        *(("embedded.fp32", True), ("embedded.w8a8", True)),
        *(("embedded.fp32", True), ("embedded.w8a8", False)),
    ]
    assert records[-1]["flags"] == ["failed: The engine died."]


def test_a_cell_without_a_number_is_printed_with_its_reason(command, engines, fragile):
    fragile(engines / "embedded.w8a8.onnx", 0)

    code, out, _ = command(*matrix(engines))

    assert code == 3
    assert "failed: The engine died." in out
    assert "nan" not in out


def test_the_matrix_of_sources_and_engines_stands_above_its_records(command, engines):
    code, out, _ = command(*matrix(engines))

    lines = out.splitlines()
    assert code == 0
    assert "share fooled" in lines[0]
    assert lines[1].split() == ["examples", "from", "embedded.fp32", "embedded.w8a8"]
    assert [line.split()[0] for line in lines[3:5]] == ["embedded.fp32", "embedded.w8a8"]
    assert all(len(line.split()) == 3 for line in lines[3:5])


def test_an_image_that_does_not_decode_is_named_with_its_reason(command, engines, tmp_path):
    folder = tmp_path / "images" / "balloon"
    folder.mkdir(parents=True)
    (folder / "good.jpg").write_bytes(next((assets.images_dir("eval") / "balloon").glob("*.jpg")).read_bytes())
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    targets = (engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx")

    code, out, _ = command("transfer-matrix", *targets, "--data", tmp_path / "images", "--threads", "1")

    assert code == 3
    assert "left out: balloon/torn.jpg: " in out


def test_an_attack_that_is_no_transfer_attack_is_refused_before_engines_are_opened(refused):
    said = refused("transfer-matrix", "nothing.onnx", "--data", "nowhere", "--attack", "square")

    assert "Expected a transfer attack, got 'square'" in said


def test_engines_can_be_isolated(command, engines):
    plain, apart = (command(*matrix(engines, "--json", *flags)) for flags in ((), ("--isolate",)))

    assert (plain[0], apart[0]) == (0, 0)
    assert json.loads(apart[1]) == json.loads(plain[1])
