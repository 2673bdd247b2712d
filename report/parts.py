"""Pieces that every section uses: an engine's name with its marker, tables that scroll, flags, missing parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..core.record import Record
from . import format as wording
from .charts import Mark
from .document import Document
from .lookup import engine_names, reference
from .markup import NOTHING, Markup, element, join, label, text, visible
from .svg import marker


@dataclass(frozen=True, kw_only=True)
class View:
    """The document with what its drawings share.

    Attributes:
        document: What is shown.
        slots: Number of each engine: its colour and marker.
        hollow: Name of the reference, whose marker is hollow; None without one.
    """

    document: Document
    slots: Mapping[str, int]
    hollow: str | None

    def engine(self, name: str) -> Markup:
        """Give an engine's name behind its marker."""
        sign = marker(self.slots[name], 7.0, 7.0, hollow=name == self.hollow)
        icon = element(
            "svg", {"class": "sign", "viewBox": "0 0 14 14", "width": "14", "height": "14", "aria-hidden": "true"}, sign
        )
        return element("span", {"class": "engine"}, icon, label(name))

    def mark(self, record: Record) -> Mark:
        """Give a record as a mark of a diagram, with its figures as tooltip."""
        bounds = wording.interval(record.low, record.high, record.unit)
        title = (
            f"{record.engine}, {wording.condition_label(record.condition)}: {wording.figure(record)}"
            f"{f' ({bounds})' if bounds else ''}, n = {record.n}"
        )
        return Mark(
            slot=self.slots[record.engine],
            hollow=record.engine == self.hollow,
            y=record.value,
            low=record.low,
            high=record.high,
            title="; ".join([title, *record.flags]),
            name=visible(record.engine),
        )


def view(document: Document) -> View:
    """Number a document's engines."""
    base = reference(document)
    slots = {name: index for index, name in enumerate(engine_names(document))}
    return View(document=document, slots=slots, hollow=base.name if base else None)


def section(identity: str, title: str, *children: Markup) -> Markup:
    """Make a section with a heading that it is named by."""
    heading = element("h2", {"id": identity}, text(title))
    return element("section", {"aria-labelledby": identity}, heading, *children)


def paragraph(content: str, name: str = "") -> Markup:
    """Make a paragraph of plain words."""
    return element("p", {"class": name} if name else {}, text(content))


def absent(content: str) -> Markup:
    """Say that a part of the report is missing, and why."""
    return paragraph(content, "absent")


def legend(shown: View, names: Iterable[str]) -> Markup:
    """List the engines of a diagram with their markers."""
    items = (element("li", {}, shown.engine(name)) for name in names)
    return element("ul", {"class": "legend"}, *items)


def flag_list(flags: Iterable[str]) -> Markup:
    """Show warnings beside the figures they belong to; nothing where there are none."""
    items = [element("li", {}, text(wording.flag(flag))) for flag in flags]
    return element("ul", {"class": "flags", "aria-label": "Flags"}, *items) if items else NOTHING


def record_flags(records: Iterable[Record]) -> Markup:
    """Show the warnings of several records, each with the figure it belongs to."""
    lines = (
        f"{record.engine}, {wording.condition_label(record.condition)}: {wording.flag(flag)}"
        for record in records
        for flag in record.flags
    )
    return flag_list(dict.fromkeys(lines))


def bounded(value: str, bounds: str, *, flagged: bool = False) -> Markup:
    """Show a figure with its interval in smaller type below, and a sign where a flag belongs to it."""
    sign = (
        element("span", {"class": "flagged", "role": "img", "aria-label": "flagged"}, text("⚑")) if flagged else NOTHING
    )
    below = element("span", {"class": "bounds"}, text(bounds)) if bounds else NOTHING
    return join([sign, text(value), below])


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column's heading, and whether it holds figures."""

    title: str
    numeric: bool = False


def table(name: str, columns: Sequence[Column], groups: Sequence[tuple[str, Sequence[Sequence[Markup]]]]) -> Markup:
    """Make a table that scrolls inside itself where the page is narrow.

    Args:
        name: What the table holds, for those who can't see it.
        columns: Headings; the first column heads its row.
        groups: Rows by group; a group's title is a row of its own unless it is empty.
    """
    heads = [element("th", {"scope": "col", **_numeric(column)}, text(column.title)) for column in columns]
    bodies = [_body(title, columns, rows) for title, rows in groups if rows]
    content = element("table", {}, element("thead", {}, element("tr", {}, *heads)), *bodies)
    return element("div", {"class": "scroll", "role": "region", "aria-label": name, "tabindex": "0"}, content)


def _body(title: str, columns: Sequence[Column], rows: Sequence[Sequence[Markup]]) -> Markup:
    drawn = []
    if title:
        head = element("th", {"scope": "rowgroup", "colspan": str(len(columns)), "class": "group"}, text(title))
        drawn.append(element("tr", {}, head))
    drawn += [element("tr", {}, *_cells(columns, row)) for row in rows]
    return element("tbody", {}, *drawn)


def _cells(columns: Sequence[Column], row: Sequence[Markup]) -> list[Markup]:
    first, *rest = row
    cells = [element("th", {"scope": "row"}, first)]
    return cells + [element("td", _numeric(c), cell) for c, cell in zip(columns[1:], rest, strict=True)]


def _numeric(column: Column) -> dict[str, str]:
    return {"class": "number"} if column.numeric else {}
