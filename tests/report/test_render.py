import base64
import copy
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustmq_trt.report.document import Document
from robustmq_trt.report.markup import visible
from robustmq_trt.report.render import render, write_report

_VOID = {"meta", "link", "img"}
_HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--></style></svg><script src=//evil.example/x.js>",
    "\u202egpj.exe\u2066",
    "&lt;b&gt; &amp; &#x27;",
    "]]>",
    "\x00\x1b[31m\ud800",
    "javascript:alert(1)",
]


class _Page(HTMLParser):
    """Reads a page strictly: every element closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def _shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    # A cut label has its whole as tooltip, so the number of tooltips follows the names' lengths.
    return [(tag, tuple(attributes)) for tag, attributes in _Page(page).tags if tag != "title"]


def _poisoned(value: Any, poison: str, key: str = "") -> Any:
    """Append the poison to every free string of a document."""
    if isinstance(value, dict):
        return {name: _poisoned(item, poison, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_poisoned(item, poison, key) for item in value]
    fixed = {
        "format",
        "role",
        "scenario",
        "scope",
        "verdict",
        "compute",
        "kind",
        "png_base64",
        "metric",
        "unit",
        "y_unit",
    }
    return value + poison if isinstance(value, str) and key not in fixed else value


def test_the_page_is_well_formed_and_its_ids_are_unique(sample: dict[str, Any]) -> None:
    page = _Page(render(Document.from_json(sample)))

    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert page.open == []
    assert set(ids.values()) == {1}


def test_every_link_and_every_reference_leads_to_a_place_on_the_page(sample: dict[str, Any]) -> None:
    page = _Page(render(Document.from_json(sample)))

    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {a["href"].removeprefix("#") for tag, a in page.tags if tag == "a"}
    named = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert links <= ids
    assert named <= ids


def test_nothing_is_loaded_and_nothing_runs(sample: dict[str, Any]) -> None:
    page = _Page(render(Document.from_json(sample)))

    assert not {"script", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(key.startswith("on") or key == "style" for key in attributes)
        for key in ("src", "href", "action", "srcset", "data"):
            assert attributes.get(key, "#").startswith(("#", "data:"))


def test_the_policy_allows_this_style_sheet_by_its_hash_and_no_other(sample: dict[str, Any]) -> None:
    page = render(Document.from_json(sample))

    style = re.findall(r"<style>(.*?)</style>", page, re.S)
    policy = next(a["content"] for _, a in _Page(page).tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert len(style) == 1
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style[0]
    assert "@import" not in style[0]


def test_every_drawing_is_well_formed_xml(sample: dict[str, Any]) -> None:
    drawings = re.findall(r"<svg.*?</svg>", render(Document.from_json(sample)), re.S)

    assert len(drawings) > 10
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_every_picture_and_every_chart_has_words_for_those_who_cannot_see_it(sample: dict[str, Any]) -> None:
    tags = _Page(render(Document.from_json(sample))).tags

    assert all(a["alt"] and a["width"] and a["height"] for tag, a in tags if tag == "img")
    assert all(a.get("aria-label") or a.get("aria-hidden") for tag, a in tags if tag == "svg")


def test_headings_go_down_one_level_at_a_time(sample: dict[str, Any]) -> None:
    levels = [int(tag[1]) for tag, _ in _Page(render(Document.from_json(sample))).tags if re.fullmatch(r"h\d", tag)]

    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("poison", _HOSTILE)
def test_hostile_names_change_no_tag_and_no_attribute(sample: dict[str, Any], poison: str) -> None:
    harmless = render(Document.from_json(_poisoned(sample, "x" * len(visible(poison)))))

    hostile = render(Document.from_json(_poisoned(sample, poison)))

    assert Counter(_shape(hostile)) - Counter(_shape(harmless)) == Counter()
    hostile.encode()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(poison=st.text(min_size=1, max_size=30))
def test_no_string_breaks_out_of_its_place(made_once: dict[str, Any], poison: str) -> None:
    small = copy.deepcopy(made_once) | {"examples": [], "records": made_once["records"][:6], "audits": []}

    page = _Page(render(Document.from_json(_poisoned(small, poison))))

    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"latency": []}, "No latency was measured."),
        ({"examples": []}, "The document holds no example images."),
        ({"audits": []}, "No engine was audited: which kernels ran is not known."),
        ({"curves": []}, "No curve was measured: no condition was run at several strengths."),
        ({"records": []}, "The document holds no records."),
        ({"records": []}, "No accuracy was measured under any condition."),
        ({"targets": []}, "No engine was measured."),
        ({"provenance": {}}, "The document holds no further provenance."),
    ],
)
def test_a_missing_part_is_said_in_a_sentence(sample: dict[str, Any], changes: dict[str, Any], sentence: str) -> None:
    page = _Page(render(Document.from_json(sample | changes)))

    assert sentence in page.words


def test_without_attacks_the_page_says_so_and_shows_clean_accuracy_against_speed(sample: dict[str, Any]) -> None:
    sample["records"] = [r for r in sample["records"] if "=" not in r["condition"] and r["condition"] != "corruptions"]

    words = _Page(render(Document.from_json(sample))).words

    assert "No attacks were run." in words
    assert "Accuracy, clean images" in words


def test_an_empty_run_still_gives_a_page(sample: dict[str, Any]) -> None:
    empty = {key: [] for key in ("targets", "records", "latency", "audits", "examples", "curves")}

    assert _Page(render(Document.from_json(sample | empty))).open == []


def test_many_engines_and_figures_that_are_null_give_a_page(sample: dict[str, Any]) -> None:
    sample["targets"] += [{**sample["targets"][1], "name": f"engine {index}"} for index in range(8)]
    for entry in (*sample["records"], *sample["latency"]):
        entry.update(value=None, low=None, high=None)
    for point in (p for curve in sample["curves"] for series in curve["series"] for p in series["points"]):
        point.update(y=None)

    assert _Page(render(Document.from_json(sample))).open == []


def test_every_flag_stands_in_the_headline_the_diagram_and_the_tables(sample: dict[str, Any]) -> None:
    flag = "8.5 % of queries tie for the top score: the integer engine gives few distinct scores"

    page = render(Document.from_json(sample))

    places = [part for part in page.split("<section ")[1:] if flag in part]
    assert [re.findall(r'"(\w+)"', part)[0] for part in places] == ["answers", "conditions", "attacks", "figures"]


def test_skipped_and_failed_cells_are_visible(sample: dict[str, Any]) -> None:
    words = "".join(_Page(render(Document.from_json(sample))).words)

    assert "2 of 40 cells gave no number" in words
    assert "failed: engine process ended with signal 11 after 88 images" in words
    assert "not decodable: image file is truncated" in words


def test_the_same_document_gives_the_same_page(sample: dict[str, Any]) -> None:
    assert render(Document.from_json(sample)) == render(Document.from_json(copy.deepcopy(sample)))


def test_both_files_are_written_and_the_data_reads_back(sample: dict[str, Any], tmp_path: Path) -> None:
    document = Document.from_json(sample)

    page = write_report(document, tmp_path / "new" / "folder")

    assert page == tmp_path / "new" / "folder" / "report.html"
    assert page.read_text(encoding="utf-8") == render(document)
    assert Document.from_json(json.loads((page.parent / "report.json").read_text())).to_json() == document.to_json()
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "report.json"]


def test_an_audit_may_lack_macs_and_its_doubts_are_shown(sample: dict[str, Any]) -> None:
    sample["audits"][0]["layers"][0]["macs"] = None
    sample["audits"][0]["notes"] = ["profile and graph disagree on 1 layer"]

    words = _Page(render(Document.from_json(sample))).words

    assert words.count("profile and graph disagree on 1 layer") == 2
    assert "unknown" in words
