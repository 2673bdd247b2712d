"""The results of a run: one SQLite file, one writer, per-image rows as the source of truth."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from .errors import InputError, RobustMQError
from .files import canonical_json

SCHEMA_VERSION = 1
Status = Literal["measured", "skipped", "failed"]

_SCHEMA = """
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    task_key TEXT NOT NULL UNIQUE,
    engine TEXT NOT NULL,
    condition TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('measured', 'skipped', 'failed')),
    reason TEXT NOT NULL,
    identity TEXT NOT NULL
);
CREATE TABLE rows (
    task_id INTEGER NOT NULL REFERENCES tasks (id),
    position INTEGER NOT NULL,
    image TEXT NOT NULL,
    name TEXT NOT NULL,
    label INTEGER NOT NULL,
    prediction INTEGER,
    correct INTEGER NOT NULL,
    tied INTEGER NOT NULL,
    valid INTEGER NOT NULL,
    queries INTEGER NOT NULL,
    linf INTEGER NOT NULL,
    zero_gradient REAL NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (task_id, position)
);
CREATE TABLE documents (key TEXT PRIMARY KEY, content TEXT NOT NULL);
"""


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """What one engine answered to one image under one condition.

    Attributes:
        position: Place of the image in the evaluated data set.
        image: SHA-256 of the image as stored, before any condition.
        name: The image's name in the data set.
        label: True class.
        prediction: Production argmax, or None where no valid answer came.
        correct: Whether the prediction is the label.
        tied: Whether the highest score was shared by several classes.
        valid: Whether the engine could be asked at all; an undecodable image is not valid and does not count in n.
        queries: Forward passes the attack spent on this image; 0 where nothing queried.
        linf: Largest change of any pixel in grey levels.
        zero_gradient: Share of exactly zero entries in the gradients that made the image; 0 where none did.
        reason: Why there is no prediction, or empty.
    """

    position: int
    image: str
    name: str
    label: int
    prediction: int | None
    correct: bool
    tied: bool = False
    valid: bool = True
    queries: int = 0
    linf: int = 0
    zero_gradient: float = 0.0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One cell's chunk of images: the unit of work, of storing and of resuming.

    Attributes:
        key: Hash of everything the rows depend on; a key is stored once.
        engine: Name of the target.
        condition: Name of the condition.
        status: ``measured``, ``skipped`` (can't be done here) or ``failed`` (tried and broke).
        reason: Why it was skipped or failed.
        identity: What the key was made from, as JSON data.
        rows: One row per image; empty unless measured.
    """

    key: str
    engine: str
    condition: str
    status: Status
    reason: str = ""
    identity: Mapping[str, Any]
    rows: Sequence[ImageRow] = ()


_COLUMNS = tuple(column.name for column in fields(ImageRow))
_TRUTHS = frozenset({"correct", "tied", "valid"})


def _row(values: Sequence[Any]) -> ImageRow:
    named: dict[str, Any] = dict(zip(_COLUMNS, values, strict=True))
    return ImageRow(**{**named, **{name: bool(named[name]) for name in _TRUTHS}})


def _writable(path: Path) -> bool:
    return os.access(path.parent, os.W_OK)


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file; one in a folder that may not be written is only read, if nothing of it is still in its log."""
    log = path.with_name(f"{path.name}-wal")
    if _writable(path) or (log.exists() and log.stat().st_size):
        return sqlite3.connect(path, timeout=5, isolation_level=None)
    return sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True, isolation_level=None)


class Store:
    """The results file of a run.

    Every write is one transaction that is on the disk before the call returns (WAL, ``synchronous=FULL``), so a
    killed process loses the task it was working on and nothing else.
    """

    def __init__(self, path: Path) -> None:
        """Open the results file, making it where there is none; in a folder that may not be written it is only read.

        Raises:
            InputError: If the file is not a results file of this schema version.
            RobustMQError: If another process holds it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._database = _connect(path)
        try:
            if _writable(path):
                self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute("PRAGMA foreign_keys=ON")
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise InputError(
                f"'{path}' cannot be used as a results file: {error}. Choose another run folder."
            ) from error

    def close(self) -> None:
        """Close the file; the write-ahead log is merged into it."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def done(self) -> set[str]:
        """Give the keys of all tasks that need no more work: measured or skipped.

        Raises:
            InputError: If the file is damaged.
        """
        return {key for (key,) in self._select("SELECT task_key FROM tasks WHERE status != 'failed'")}

    def add(self, task: Task) -> None:
        """Store a task with its rows, all or nothing; a failed attempt is replaced, a finished one is kept.

        Raises:
            RobustMQError: If the disk is full or another process holds the file.
        """
        with self._transaction() as database:
            database.execute(
                "DELETE FROM rows WHERE task_id IN (SELECT id FROM tasks WHERE task_key=? AND status='failed')",
                (task.key,),
            )
            database.execute("DELETE FROM tasks WHERE task_key=? AND status='failed'", (task.key,))
            cursor = database.execute(
                "INSERT OR IGNORE INTO tasks (task_key, engine, condition, status, reason, identity) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (task.key, task.engine, task.condition, task.status, task.reason, canonical_json(dict(task.identity))),
            )
            if cursor.rowcount:
                self._add_rows(cursor.lastrowid, task.rows)

    def tasks(self, keys: Sequence[str] | None = None) -> Iterator[Task]:
        """Give all stored tasks, or those with the given keys in their order, each with its rows by position.

        Raises:
            InputError: If the file is damaged.
        """
        if keys is None:
            keys = [key for (key,) in self._select("SELECT task_key FROM tasks ORDER BY id")]
        for key in keys:
            query = "SELECT id, engine, condition, status, reason, identity FROM tasks WHERE task_key=?"
            for number, engine, condition, status, reason, identity in self._select(query, key):
                yield Task(
                    key=key,
                    engine=engine,
                    condition=condition,
                    status=status,
                    reason=reason,
                    identity=json.loads(identity),
                    rows=self._rows(number),
                )

    def put_document(self, key: str, content: Any) -> None:
        """Store a JSON document (plan, audit, latency, examples) under a key, replacing the one there."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (key, canonical_json(content)))

    def drop_documents(self, *beginnings: str) -> None:
        """Remove the JSON documents whose keys begin with any of the texts."""
        with self._transaction() as database:
            for beginning in beginnings:
                database.execute("DELETE FROM documents WHERE substr(key, 1, length(?1)) = ?1", (beginning,))

    def document(self, key: str) -> Any | None:
        """Give the JSON document stored under a key, or None.

        Raises:
            InputError: If the file is damaged.
        """
        found = self._select("SELECT content FROM documents WHERE key=?", key)
        return json.loads(found[0][0]) if found else None

    def _prepare(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self._transaction() as database:
                for statement in _SCHEMA.split(";")[:-1]:
                    database.execute(statement)
                database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            self._database.close()
            raise InputError(
                f"'{self._path}' has results schema {version}, this version reads {SCHEMA_VERSION}. "
                "Use the version that wrote it, or another run folder."
            )

    def _add_rows(self, number: int | None, rows: Sequence[ImageRow]) -> None:
        places = ", ".join("?" * (len(_COLUMNS) + 1))
        self._database.executemany(f"INSERT INTO rows VALUES ({places})", ((number, *astuple(row)) for row in rows))

    def _rows(self, number: int) -> tuple[ImageRow, ...]:
        query = f"SELECT {', '.join(_COLUMNS)} FROM rows WHERE task_id=? ORDER BY position"
        return tuple(_row(values) for values in self._select(query, number))

    def _select(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"'{self._path}' cannot be read: {error}. Take a copy of it from before, or choose another run folder."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise RobustMQError(f"Writing '{self._path}' failed: {error}. What was stored before is intact.") from error
