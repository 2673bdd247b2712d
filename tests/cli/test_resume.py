"""A run that is killed goes on where it was, and ends with the same table as one that was not."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from robustmq_trt import assets

KILLS = 10


def command_line(engines, folder):
    conditions = ["--corruption", "gaussian_noise:3", "--corruption", "motion_blur:3", "--shift", "opencv-nearest"]
    attacks = ["--attack", "mifgsm:eps=2", "--attack", "square:eps=4,queries=100", "--attack", "pgd:eps=2"]
    targets = [str(engines / "embedded.fp32.onnx"), str(engines / "embedded.w8a8.onnx")]
    data = ["--data", str(assets.images_dir("eval")), "-o", str(folder)]
    argv = ["evaluate", *targets, *data, *conditions, *attacks, "--latency", "0", "--threads", "1", "--json"]
    return [sys.executable, "-c", f"import sys; from robustmq_trt.cli.main import main; sys.exit(main({argv!r}))"]


def finished(engines, folder):
    return json.loads(subprocess.run(command_line(engines, folder), capture_output=True, check=True).stdout)


def stored_tasks(folder) -> int:
    path = folder / "results.sqlite"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT COUNT(*) FROM tasks").fetchone()[0])
    except sqlite3.OperationalError:  # the table is being made
        return 0


@pytest.mark.slow
def test_ten_kills_do_not_change_the_table(engines, tmp_path):
    whole = json.loads(
        subprocess.run(command_line(engines, tmp_path / "whole"), capture_output=True, check=True).stdout
    )
    tasks = stored_tasks(tmp_path / "whole")
    broken = tmp_path / "broken"
    seen = []

    for kill in range(KILLS):
        process = subprocess.Popen(command_line(engines, broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = tasks * (kill + 1) // (KILLS + 1)
        while stored_tasks(broken) < wanted and process.poll() is None:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        seen.append(stored_tasks(broken))
    resumed = finished(engines, broken)

    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] < tasks, "every kill has to hit a run that is under way"
    assert resumed["records"] == whole["records"]
    assert resumed["totals"] == whole["totals"]
