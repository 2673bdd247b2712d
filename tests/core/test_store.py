"""The results file: nothing acknowledged is ever lost, nothing is stored twice."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import pytest

from robustmq_trt.core.errors import InputError, RobustMQError
from robustmq_trt.core.store import ImageRow, Store, Task


def row(position: int, **changes: object) -> ImageRow:
    fields = {"position": position, "image": f"{position:064x}", "name": f"{position}.jpg", "label": 1}
    return ImageRow(**{**fields, "prediction": 1, "correct": True, **changes})


def task(key: str, **changes: object) -> Task:
    fields = {"key": key, "engine": "e", "condition": "clean", "status": "measured", "identity": {"seed": 0}}
    return Task(**{**fields, "rows": (row(0), row(1)), **changes})


def test_tasks_come_back_as_they_were_stored(tmp_path):
    stored = task("a", rows=(row(0, prediction=None, correct=False, reason="undecodable"), row(1, queries=7, linf=8)))

    with Store(tmp_path / "results.sqlite") as store:
        store.add(stored)

        assert list(store.tasks()) == [stored]


def test_a_key_is_stored_once(tmp_path):
    with Store(tmp_path / "results.sqlite") as store:
        store.add(task("a"))
        store.add(task("a", rows=(row(0, label=9),)))

        assert list(store.tasks()) == [task("a")]


def test_a_failed_task_is_replaced_by_the_next_attempt(tmp_path):
    with Store(tmp_path / "results.sqlite") as store:
        store.add(task("a", status="failed", reason="engine crashed", rows=()))
        assert store.done() == set()

        store.add(task("a"))

        assert store.done() == {"a"}
        assert list(store.tasks()) == [task("a")]


def test_what_cannot_be_measured_here_needs_no_more_work(tmp_path):
    with Store(tmp_path / "results.sqlite") as store:
        store.add(task("a", status="skipped", reason="no surrogate", rows=()))

        assert store.done() == {"a"}


def test_tasks_can_be_asked_for_by_key_in_the_caller_s_order(tmp_path):
    with Store(tmp_path / "results.sqlite") as store:
        for key in "abc":
            store.add(task(key))

        assert [found.key for found in store.tasks(["c", "a", "missing"])] == ["c", "a"]


def test_documents_are_replaced(tmp_path):
    with Store(tmp_path / "results.sqlite") as store:
        store.put_document("plan", {"seed": 0})
        store.put_document("plan", {"seed": 1})

        assert store.document("plan") == {"seed": 1}
        assert store.document("audit") is None


def test_documents_are_dropped_by_how_their_keys_begin(tmp_path):
    with Store(tmp_path / "results.sqlite") as store:
        for key in ("plan", "latency", "example/clean/e/0", "example/clean/e/1"):
            store.put_document(key, 1)
        store.drop_documents("latency", "example")

        assert [store.document(key) for key in ("plan", "latency", "example/clean/e/0")] == [1, None, None]


def test_a_run_in_a_folder_that_may_not_be_written_is_read(tmp_path, monkeypatch):
    path = tmp_path / "results.sqlite"
    with Store(path) as store:
        store.add(task("a"))
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    monkeypatch.setattr(os, "access", lambda *_: False)  # the superuser may write everywhere

    with Store(path) as store:
        assert store.done() == {"a"}
        with pytest.raises(RobustMQError, match="readonly"):
            store.put_document("plan", {})

    tmp_path.chmod(0o755)
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.sqlite"]


def test_a_file_that_is_no_results_file_is_refused(tmp_path):
    path = tmp_path / "results.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at as one" * 20)

    with pytest.raises(InputError, match="cannot be used as a results file"):
        Store(path)


def test_a_file_that_is_damaged_inside_is_a_sentence_for_every_reader_and_writer(tmp_path):
    path = tmp_path / "results.sqlite"
    with Store(path) as store:
        store.add(task("a"))
        store.put_document("plan", {})
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))  # the first page holds the schema

    with Store(path) as store:
        for read in (store.done, lambda: list(store.tasks()), lambda: store.document("plan")):
            with pytest.raises(InputError, match=r"'.*results.sqlite' cannot be read: .* another run folder"):
                read()
        with pytest.raises(RobustMQError, match=r"Writing .* failed"):
            store.add(task("b"))


def test_another_schema_version_is_refused(tmp_path):
    path = tmp_path / "results.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()

    with pytest.raises(InputError, match="has results schema 99"):
        Store(path)


def test_a_full_disk_is_said_and_leaves_what_was_stored(tmp_path):
    with Store(tmp_path / "results.sqlite") as store:
        store.add(task("a"))
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count={pages + 1}")

        with pytest.raises(RobustMQError, match="What was stored before is intact"):
            store.add(task("b", rows=tuple(row(i) for i in range(5000))))

        assert list(store.tasks()) == [task("a")]


WRITER = """
import sys
from robustmq_trt.core.store import ImageRow, Store, Task
store = Store(__import__("pathlib").Path(sys.argv[1]))
for number in range(100_000):
    rows = tuple(ImageRow(position=i, image="0", name="n", label=0, prediction=0, correct=True) for i in range(20))
    store.add(Task(key=str(number), engine="e", condition="c", status="measured", identity={}, rows=rows))
    print(number, flush=True)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_a_killed_writer_loses_no_acknowledged_task(tmp_path, attempt):
    path = tmp_path / "results.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(0.1 + 0.05 * attempt)
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged = [int(first), *(int(line) for line in writer.stdout if line.endswith("\n"))]
    writer.wait()
    writer.stdout.close()

    with Store(path) as store:
        stored = {int(found.key): len(found.rows) for found in store.tasks()}

    assert set(acknowledged) <= set(stored)
    assert set(stored.values()) == {20}
