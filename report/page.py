"""The page as a whole: head with its security policy, title and verdict, sections in reading order."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import NamedTuple

from . import details, findings, survival
from . import format as wording
from .document import Document
from .headline import verdicts
from .markup import Markup, element, join, text
from .parts import View, view


class _Part(NamedTuple):
    identity: str
    title: str
    draw: Callable[[View], Markup]


_PARTS = (
    _Part("answers", "Answers", findings.answers),
    _Part("targets", "Engines", findings.targets),
    _Part("pareto", "Robustness and speed", findings.pareto),
    _Part("conditions", "Conditions", findings.by_condition),
    _Part("curves", "Curves", findings.curves),
    _Part("attacks", "Attacks", details.attacks),
    _Part("survival", "Survival", survival.survival),
    _Part("examples", "Examples", findings.examples),
    _Part("latency", "Latency", details.latency),
    _Part("audit", "Audit", details.audits),
    _Part("figures", "All figures", details.figures),
    _Part("images", "Images and totals", details.images),
    _Part("reading", "How to read", lambda _: details.reading()),
    _Part("provenance", "Provenance", details.provenance),
)


def page(document: Document, style: str) -> str:
    """Build the whole page.

    Args:
        document: What is shown.
        style: The style sheet; the page allows this one by its hash and nothing else.
    """
    shown = view(document)
    body = element(
        "body",
        {},
        element("a", {"class": "skip", "href": "#answers"}, text("Skip to the answers")),
        _header(document),
        element("main", {}, *(part.draw(shown) for part in _PARTS)),
        element("footer", {}, text("Made by robustmq-trt from the report.json beside this page.")),
    )
    return f"<!doctype html>\n{element('html', {'lang': 'en'}, _head(document, style), body)}\n"


def content_policy(style: str) -> str:
    """Give the policy: nothing is loaded or run, this style sheet applies, images come from the page itself."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _head(document: Document, style: str) -> Markup:
    assert "</" not in style
    assert "\r" not in style
    return element(
        "head",
        {},
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": content_policy(style)}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("meta", {"name": "referrer", "content": "no-referrer"}),
        element("title", {}, text(document.title)),
        element("link", {"rel": "icon", "href": "data:,"}),
        element("style", {}, Markup(style)),  # ours, and raw by HTML's rule: entities do not exist in it
    )


def _header(document: Document) -> Markup:
    images = wording.plural(document.dataset.images, "image")
    facts = f"{document.created} · {document.dataset.name} · {images}"
    skipped = document.totals.cells - document.totals.measured
    if skipped > 0:
        facts += f" · {skipped} of {wording.plural(document.totals.cells, 'cell')} gave no number"
    links = (element("a", {"href": f"#{part.identity}"}, text(part.title)) for part in _PARTS)
    return element(
        "header",
        {},
        element("p", {"class": "eyebrow"}, text("Robustness report")),
        element("h1", {}, text(document.title)),
        *(element("p", {"class": "verdict"}, text(line)) for line in verdicts(document)),
        element("p", {"class": "note"}, element("bdi", {}, text(facts))),
        element("nav", {"aria-label": "Sections"}, join(links, Markup(" "))),
    )
