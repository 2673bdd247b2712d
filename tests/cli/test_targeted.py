"""`evaluate --attack ...,goal=targeted`: its own figure, and no mixing with attacks that want any wrong class."""

import json

import pytest

from robustmq_trt import assets
from robustmq_trt.core.store import Store
from robustmq_trt.evaluate.attacks.aim import drawn_target

TARGETED = "square:eps=32,queries=60,goal=targeted"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def result(command, engines, folder):
    code, out, err = command(
        *("evaluate", engines / "embedded.fp32.onnx", engines / "embedded.w8a8.onnx", "--json"),
        *("--data", assets.images_dir("eval"), "-o", folder, "--images", "24", "--latency", "0", "--threads", "1"),
        *("--attack", TARGETED, "--attack", "linear:eps=32,queries=60"),
    )
    assert code == 0, err
    return json.loads(out)


def test_the_record_is_the_share_of_images_taken_for_their_target(result, folder):
    """Reference: counted by hand from the stored answers."""
    classes = 10
    with Store(folder / "results.sqlite") as store:
        rows = {(task.engine, task.condition): task.rows for task in store.tasks()}

    records = {r["engine"]: r for r in result["records"] if r["metric"] == "targeted_success"}

    assert set(records) == {"embedded.fp32", "embedded.w8a8"}
    for engine, record in records.items():
        tried = [row for row in rows[engine, "clean"] if row.correct]
        answers = {row.image: row.prediction for row in rows[engine, TARGETED]}
        reached = sum(
            answers[row.image] == drawn_target(record["seed"], row.image, row.label, classes) for row in tried
        )
        assert (record["condition"], record["n"]) == (TARGETED, len(tried))
        assert record["value"] == pytest.approx(reached / len(tried))
        assert reached > 0


def test_a_targeted_attack_joins_no_worst_case_of_another_goal(result):
    assert not [record for record in result["records"] if record["condition"].startswith("worst-case")]
