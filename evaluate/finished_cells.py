"""Finished cells of a study kept in a folder for the same study run again, each under the hash of all it depends on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.files import sha256_json, write_json
from ..core.provenance import cpu, gpus, package_versions, switches
from ..core.record import Record
from .rates import any_failed


class FinishedCells:
    """A folder of finished cells, one JSON file each, so that a study that was killed goes on where it was.

    A file is whole or absent, and holds a hash over the cell's key and content: a damaged or foreign one is left out
    and its cell measured again. What failed is never kept.

    Attributes:
        folder: Where they lie; None for nowhere.
        found: Cells found.
        kept: Cells measured and kept.
        damaged: Files that are not what was kept.

    Args:
        folder: Where they lie, made with the first one; None for nowhere, then nothing is found or kept.
        settings: JSON data that every cell depends on beside its own identity, e.g. the number of threads.
    """

    def __init__(self, folder: Path | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self._common: dict[str, Any] = {}
        if folder is not None:
            machine = {"cpu": cpu(), "gpus": gpus(), "packages": package_versions(), "environment": switches()}
            self._common = {"robustmq": __version__, "machine": machine, "settings": dict(settings or {})}
        self.found = self.kept = self.damaged = 0

    def find(self, identity: Mapping[str, Any]) -> Any | None:
        """Give a cell's content, or None where it has to be measured.

        Args:
            identity: JSON data: all that decides about the content, but for version, machine and settings.
        """
        if self.folder is None:
            return None
        path = self._path(self.folder, identity)
        try:
            document = json.loads(path.read_bytes())
            content, whole = document["content"], document["sha256"] == _digest(path, document["content"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            self.damaged += 1
            return None
        self.found += 1
        return content

    def keep(self, identity: Mapping[str, Any], content: Any) -> None:
        """Keep what a cell came to.

        Args:
            identity: As for `find`.
            content: JSON data.
        """
        if self.folder is None:
            return
        path = self._path(self.folder, identity)
        write_json(path, {"sha256": _digest(path, content), "content": content})
        self.kept += 1

    def records(self, identity: Mapping[str, Any], measure: Callable[[], Iterable[Record]]) -> list[Record]:
        """Give a cell's records as they were kept, else measure them, and keep them if nothing of them failed.

        Args:
            identity: As for `find`.
            measure: Gives the records.
        """
        content = self.find(identity)
        if content is not None:
            return [Record.from_json(document) for document in content]
        measured = list(measure())
        if not any_failed(measured):
            self.keep(identity, [record.to_json() for record in measured])
        return measured

    def summary(self) -> str:
        """Say in a sentence how many cells were found and kept, and how many files were damaged."""
        said = f"Finished cells in '{self.folder}': {self.found} found, {self.kept} measured and kept"
        return said + (f", {self.damaged} damaged and measured again" if self.damaged else "")

    def _path(self, folder: Path, identity: Mapping[str, Any]) -> Path:
        return folder / f"{sha256_json({'cell': dict(identity), **self._common})}.json"


def _digest(path: Path, content: Any) -> str:
    """Hash the cell's key, which is the file's name, with its content: a renamed cell is no other cell."""
    return sha256_json([path.stem, content])
