"""From a document to the two files of a report: the page and its data."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ..core.files import write_bytes, write_json
from .document import Document
from .page import page


def render(document: Document) -> str:
    """Give the report as one HTML page that loads nothing and runs nothing."""
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return page(document, style)


def write_report(document: Document, folder: Path) -> Path:
    """Write ``report.html`` and ``report.json`` into a folder, each whole or not at all.

    Args:
        document: What is reported.
        folder: Made if it does not exist.

    Returns:
        The path of ``report.html``.
    """
    content = render(document).encode()
    write_json(folder / "report.json", document.to_json())
    write_bytes(folder / "report.html", content)
    return folder / "report.html"
