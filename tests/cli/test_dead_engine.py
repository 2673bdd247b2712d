"""An engine that opens and does not answer: the others are measured, and it is a row with the reason."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from robustmq_trt import assets

CONDITIONS = ("clean", "brightness:1", "square:eps=8,queries=5", "fgsm:eps=8")
NOTHING = "the clean images could not be measured, so there is nothing to attack"
NAMES = ("embedded.fp32", "embedded.w8a8")
DATA = ("--data", assets.images_dir("eval"), "--images", "6", "--threads", "1")


def files(engines):
    return [engines / f"{name}.onnx" for name in NAMES]


def evaluation(engines, folder):
    conditions = ("--corruption", "brightness:1", "--attack", "square:eps=8,queries=5", "--attack", "fgsm:eps=8")
    return ("evaluate", *files(engines), *DATA, *conditions, "--latency", "0.1", "-o", folder)


@pytest.mark.parametrize("dead", [0, 1])
def test_the_others_are_measured_and_it_is_a_row_in_each_condition(dead, command, engines, tmp_path, fragile):
    fragile(files(engines)[dead], None)

    code, out, _ = command(*evaluation(engines, tmp_path / "run"), "--json")

    found = json.loads(out)
    alive = {record["condition"] for record in found["records"] if record["engine"] == NAMES[1 - dead]}
    reasons = found["totals"]["reasons"]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    tests = report["provenance"]["self-test"]
    assert code == 3
    assert set(CONDITIONS) <= alive
    assert {record["engine"] for record in found["records"]} == {NAMES[1 - dead]}
    assert found["totals"]["failed"] == len(CONDITIONS)
    assert {row["cell"]: row["reason"] for row in reasons} == {
        f"{condition} on {NAMES[dead]}": "failed: " + (NOTHING if "square" in condition else "The engine died.")
        for condition in CONDITIONS
    }
    assert {timing["verdict"] for timing in found["latency"] if timing["engine"] == NAMES[dead]} == {"failed"}
    assert tests[NAMES[dead]] == {"failed": "The engine died."}
    assert tests[NAMES[1 - dead]]["repeatable"]


def test_it_is_asked_again_when_the_run_goes_on(command, engines, tmp_path, fragile, monkeypatch):
    fragile(files(engines)[1], None)
    assert command(*evaluation(engines, tmp_path / "run"))[0] == 3
    monkeypatch.undo()

    code, out, _ = command(*evaluation(engines, tmp_path / "run"), "--json")

    assert code == 0
    assert {record["engine"] for record in json.loads(out)["records"]} == set(NAMES)


def test_alone_it_is_refused_before_anything_is_measured(refused, engines, tmp_path, fragile):
    file = files(engines)[1]
    fragile(file, None)

    message = refused("evaluate", file, *DATA, "--corruption", "brightness:1", "-o", tmp_path / "run", code=3)

    assert "The engine died." in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("transfer-matrix", "--attack", "fgsm:eps=4"),
        ("preprocessing", "quality", "--qualities", "50"),
        ("latency", "--seconds", "0.1"),
    ],
    ids=lambda words: words[0],
)
def test_other_commands_keep_what_the_others_gave(words, command, engines, fragile):
    fragile(files(engines)[1], None)
    head = words[: 2 if words[0] == "preprocessing" else 1]

    code, out, _ = command(*head, *files(engines), *DATA, *words[len(head) :])

    assert code == 3
    assert "The engine died." in out
    assert NAMES[0] in out


@pytest.fixture
def one_inside(tmp_path):
    """The embedded model with a batch of one in a Reshape and none in its signature, as exporters leave it."""
    model = onnx.load(assets.model_path())
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "one_row"))
    (flatten,) = (node for node in model.graph.node if node.op_type == "Flatten")
    flatten.CopyFrom(helper.make_node("Reshape", [flatten.input[0], "one_row"], flatten.output))
    onnx.save(model, tmp_path / "one_inside.onnx")
    return tmp_path / "one_inside.onnx"


def test_a_file_that_takes_single_images_only_says_so(command, refused, one_inside, tmp_path):
    conditions = (*DATA, "--corruption", "brightness:1", "--latency", "0", "-o", tmp_path / "run")

    alone = refused("evaluate", one_inside, *conditions, code=3)
    code, out, err = command("evaluate", assets.model_path(), one_inside, *conditions)
    works, *_ = command("evaluate", one_inside, *conditions, "--batch", "1")

    assert "It answers single images: pass `--batch 1`." in alone
    assert (code, works) == (3, 0)
    assert "one_inside fails its self-test and is asked again" in err
    assert "--batch 1" in err
    assert "not measured: clean on one_inside, brightness:1 on one_inside: failed: ONNX Runtime failed" in out


@pytest.mark.parametrize(("batch", "expected"), [("32", 3), ("1", 0)])
def test_single_images_do_in_preprocessing(batch, expected, command, one_inside):
    study = ("preprocessing", "quality", assets.model_path(), one_inside, *DATA, "--qualities", "50")

    code, *_ = command(*study, "--batch", batch)

    assert code == expected
