"""`latency` from the command line: every target gets its rows, those that could not be measured too."""

import hashlib
import json
import shutil

from robustmq_trt import assets

SHORT = ("--seconds", "0.05", "--images", "4", "--threads", "1")


def test_every_target_gets_its_energy_or_the_reason_for_none(command):
    code, out, err = command("latency", assets.model_path(), *SHORT, "--json")

    assert code == 0, err
    rows = json.loads(out)["energy"]
    assert [row["source"] for row in rows][:1] == ["RAPL"]
    assert all((row["per_image"] is None) == bool(row["reason"]) for row in rows)


def test_the_text_has_a_line_of_energy(command):
    code, out, err = command("latency", assets.model_path(), *SHORT)

    assert code == 0, err
    assert any("by RAPL" in line for line in out.splitlines())


def test_a_file_that_cannot_be_used_is_passed_over(command, tmp_path):
    shutil.copytree(assets.images_dir("eval"), tmp_path / "data")
    names = [path.relative_to(tmp_path / "data").as_posix() for path in sorted((tmp_path / "data").rglob("*.jpg"))[:3]]
    good = hashlib.sha256((tmp_path / "data" / names[1]).read_bytes()).hexdigest()
    rows = [f"{names[0]},0,{'0' * 64}", f"{names[1]},0,{good}"]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,sha256", *rows]))

    code, out, _ = command(
        *("latency", assets.model_path(), "--data", tmp_path / "data", "--labels", tmp_path / "labels.csv"),
        *("--seconds", "0.01", "--json"),
    )

    assert code == 0
    assert json.loads(out)["timings"]
