"""Commands on a model with custom operators: refused without their library and its hash, measured with them."""

import json
from pathlib import Path

import pytest

from robustmq_trt import assets
from robustmq_trt.core.files import sha256_file
from robustmq_trt.core.store import Store

NEEDED = "ai.onnx.contrib::NegPos"


@pytest.fixture
def custom(tmp_path: Path, with_custom_relus) -> Path:
    return with_custom_relus(assets.model_path(), tmp_path / "custom.onnx")


def trusting(library: Path) -> list[object]:
    return ["--custom-ops", library, "--trust-engine", f"sha256:{sha256_file(library)}"]


def test_without_a_library_the_operators_and_the_flag_are_named(custom: Path, refused):
    for command in (["audit", custom], ["evaluate", custom, "--data", assets.images_dir("eval")], ["build", custom]):
        said = refused(*command, *(["--calib", assets.images_dir("calib")] if command[0] == "build" else []))

        assert NEEDED in said
        assert "--custom-ops LIBRARY" in said


def test_a_library_that_is_not_trusted_is_refused_for_security(custom: Path, operator_library: Path, refused):
    said = refused("audit", custom, "--custom-ops", operator_library, code=4)

    assert f"--trust-engine sha256:{sha256_file(operator_library)}" in said


def test_a_library_that_is_not_there_is_refused(custom: Path, refused):
    assert "none.so' does not exist" in refused("audit", custom, "--custom-ops", custom.with_name("none.so"))


def test_a_library_that_is_no_good_is_refused(custom: Path, bad_library: tuple[Path, str], refused):
    assert bad_library[0].name in refused("audit", custom, *trusting(bad_library[0]))


def test_the_audit_calls_custom_operators_unprovable(custom: Path, operator_library: Path, command):
    code, out, err = command("audit", custom, "--threads", 1, "--json", *trusting(operator_library))

    audit = json.loads(out)
    assert (code, err) == (0, "")
    assert audit["layers_unknown"] == 7
    assert audit["identity"]["custom_ops_sha256"] == {operator_library.name: sha256_file(operator_library)}


def test_an_evaluation_gives_the_rows_of_the_same_model_in_standard_operators(
    custom: Path, operator_library: Path, tmp_path: Path, command
):
    conditions = ["--attack", "square:eps=8,queries=5", "--attack", "fgsm:eps=8", "--latency", 0, "--quiet"]
    data = ["--data", assets.images_dir("eval"), "--images", 8, "--threads", 1]
    run = tmp_path / "run"

    code, _, err = command(
        "evaluate", assets.model_path(), custom, *data, *conditions, "-o", run, *trusting(operator_library)
    )

    assert code == 0, err
    with Store(run / "results.sqlite") as store:
        rows = {(task.condition, task.engine): task.rows for task in store.tasks()}
    engines = sorted({engine for _, engine in rows})
    assert len(engines) == 2
    assert all(rows[condition, engines[0]] == rows[condition, engines[1]] for condition, _ in rows)


def test_gradients_of_a_model_with_custom_operators_are_not_sought(
    custom: Path, operator_library: Path, tmp_path: Path, command
):
    data = ["--data", assets.images_dir("eval"), "--images", 4, "--threads", 1, "--attack", "fgsm:eps=8"]
    run = tmp_path / "run"

    code, _, err = command("evaluate", custom, *data, "--latency", 0, "--quiet", "-o", run, *trusting(operator_library))

    assert code == 0, err
    with Store(run / "results.sqlite") as store:
        assert "gives no gradients: pass --surrogate" in str([task.reason for task in store.tasks()])
