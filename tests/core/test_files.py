import hashlib
import json

import pytest

from robustmq_trt.core.files import atomic_path, replace_json, set_aside, sha256_file, sha256_json, staging, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def interrupted_write():
        with atomic_path(path) as partial:
            partial.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_write()

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_whole_write_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "ranges.json"

    write_json(path, {"a": 1})

    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in path.parent.iterdir()] == ["ranges.json"]


def test_files_set_aside_share_the_beginning_of_the_first_ones_hash(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "report.html").write_text("<p>")

    kept = set_aside(tmp_path / "report.json", tmp_path / "report.html", tmp_path / "report.pdf")

    digits = hashlib.sha256(b"{}").hexdigest()[:8]
    assert kept == [tmp_path / f"report-{digits}.json", tmp_path / f"report-{digits}.html"]
    assert sorted(tmp_path.iterdir()) == sorted(kept, key=str)
    assert kept[0].read_text() == "{}"
    assert set_aside(tmp_path / "report.json") == []


def test_a_document_is_set_aside_for_another_one_and_not_for_itself(tmp_path):
    path = tmp_path / "study.json"

    kept = [replace_json(path, {"seed": seed}) for seed in (0, 0, 1)]

    assert kept[:2] == [[], []]
    assert json.loads(kept[2][0].read_text()) == {"seed": 0}
    assert json.loads(path.read_text()) == {"seed": 1}
    assert len(list(tmp_path.iterdir())) == 2


def test_staged_files_appear_together_or_not_at_all(tmp_path):
    def interrupted_build():
        with staging(tmp_path) as folder:
            (folder / "model.onnx").write_bytes(b"whole")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_build()
    assert list(tmp_path.iterdir()) == []

    with staging(tmp_path) as folder:
        (folder / "model.onnx").write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_file_hash_equals_hashlib_s_over_the_whole(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"x" * 3_000_001)

    assert sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_json_hash_ignores_key_order():
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1})


def test_json_hash_refuses_what_is_not_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        sha256_json({"a": float("nan")})
