"""`latency` from the command line: every target gets its rows, those that could not be measured too."""

import json

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
