"""A folder of images with a labels CSV beside them, read with the suspicion a foreign file deserves."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..core.errors import InputError, RefusedError, unknown
from .dataset import Dataset, Sample

_NAMED_AT_MOST = 3
_MAX_DIGITS = 9
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[+-]?\d+([._]\d*)?")  # what a spreadsheet makes of indices: 3.0, -1, digits of another script


class _Row(NamedTuple):
    line: int
    file: str
    label: str
    sha256: str | None


def read_labels(folder: Path, table: Path) -> Dataset:
    """Open the images a CSV names.

    The header holds ``file`` and ``label``; a column ``sha256`` is what each file is checked against when it is read;
    further columns are ignored. A file is relative to the folder, with ``/``.
    A label of digits is a class index; any other is a class name, looked up in ``classes.txt`` beside the CSV (one name
    per line, line 1 is class 0) or, without one, in the sorted names of the CSV itself. There, a number like ``3.0`` is
    refused: sorted as a name, 10.0 would come before 2.0, and the classes would be silently wrong.

    Args:
        folder: Where the files lie.
        table: The CSV.

    Returns:
        The samples in the order of the rows.

    Raises:
        InputError: If the CSV is no such table, a row is bad (with its line number), or a file is missing.
        RefusedError: If a row points outside the folder.
    """
    rows = _read_rows(table)
    _check_unique(table, rows)
    given = _read_classes(table.parent / "classes.txt")
    names = given or _names_in(rows)
    samples = tuple(
        Sample(
            name=row.file,
            label=_label(table, row, names),
            source=_inside(folder, table, row),
            declared_sha256=row.sha256,
        )
        for row in rows
    )
    _check_present(folder, samples)
    return Dataset(samples=samples, class_names=names)


def _read_rows(table: Path) -> list[_Row]:
    reader = csv.reader(io.StringIO(_text(table), newline=""))
    try:
        header = [column.strip() for column in next(reader, [])]
        if "file" not in header or "label" not in header:
            raise InputError(f"Expected the header file,label in '{table}', got '{','.join(header)}'. Add the header.")
        rows = [_row(table, header, reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise InputError(f"'{table}', line {reader.line_num}: not readable as CSV: {error}. Correct it.") from error
    if not rows:
        raise InputError(f"'{table}' names no file. Add one row per image.")
    return rows


def _row(table: Path, header: list[str], line: int, cells: list[str]) -> _Row:
    if len(cells) != len(header):
        raise InputError(f"'{table}', line {line}: expected {len(header)} columns, got {len(cells)}. Correct the row.")
    file, label = (cells[header.index(column)].strip() for column in ("file", "label"))
    if not file or not label:
        raise InputError(f"'{table}', line {line}: `file` or `label` is empty. Correct the row.")
    sha256 = cells[header.index("sha256")].strip().lower() if "sha256" in header else None
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise InputError(
            f"'{table}', line {line}: expected 64 hex digits in `sha256`, got {sha256!r}. Correct the row."
        )
    return _Row(line, file, label, sha256)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"Labels '{path}' do not exist. Check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' is not readable as UTF-8 text: {error}. Save it as UTF-8.") from error


def _read_classes(path: Path) -> tuple[str, ...] | None:
    return tuple(line.strip() for line in _text(path).splitlines()) if path.is_file() else None


def _names_in(rows: Sequence[_Row]) -> tuple[str, ...] | None:
    names = sorted({row.label for row in rows if not _NUMBER.fullmatch(row.label)})
    return tuple(names) if names and not any(_NUMBER.fullmatch(row.label) for row in rows) else None


def _check_unique(table: Path, rows: Sequence[_Row]) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        name = PurePosixPath(row.file).as_posix()
        if name in seen:
            raise InputError(
                f"'{table}', line {row.line}: '{row.file}' is in line {seen[name]} too. Remove one of them."
            )
        seen[name] = row.line


def _label(table: Path, row: _Row, names: Sequence[str] | None) -> int:
    where = f"'{table}', line {row.line}"
    if _is_index(row.label):
        label = int(row.label) if len(row.label) <= _MAX_DIGITS else 10**_MAX_DIGITS
        if label >= (len(names) if names else 10**_MAX_DIGITS):
            known = f"there are {len(names)} classes" if names else "that is no class index"
            raise InputError(f"{where}: label {row.label}, but {known}. Correct the label.")
        return label
    if names is None:
        raise InputError(f"{where}: label {row.label!r} is no class index. Give indices, or add a classes.txt.")
    found = [index for index, name in enumerate(names) if name == row.label]
    if not found:
        raise InputError(f"{where}: {unknown('class', row.label, names) if len(names) <= 20 else _no_class(row.label)}")
    if len(found) > 1:
        raise InputError(f"{where}: class {row.label!r} is the name of {found}. Give the index.")
    return found[0]


def _is_index(label: str) -> bool:
    return label.isascii() and label.isdecimal()


def _no_class(name: str) -> str:
    return f"Unknown class {name!r}. Use a name of classes.txt, or an index."


def _inside(folder: Path, table: Path, row: _Row) -> Path:
    relative = PurePosixPath(row.file)
    path = folder / relative
    lexical = relative.is_absolute() or ".." in relative.parts or "\0" in row.file or "\\" in row.file
    if lexical or not path.resolve().is_relative_to(folder.resolve()):
        raise RefusedError(
            f"'{table}', line {row.line}: {row.file!r} lies outside '{folder}'. Name files inside the folder, with '/'."
        )
    return path


def _check_present(folder: Path, samples: Sequence[Sample]) -> None:
    missing = [sample.name for sample in samples if isinstance(sample.source, Path) and not sample.source.is_file()]
    if missing:
        more = f" and {len(missing) - _NAMED_AT_MOST} more" if len(missing) > _NAMED_AT_MOST else ""
        listed = ", ".join(f"'{name}'" for name in missing[:_NAMED_AT_MOST])
        raise InputError(
            f"{len(missing)} of {len(samples)} files are missing in '{folder}': {listed}{more}. Check the paths."
        )
