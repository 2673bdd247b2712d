import html
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustmq_trt.report.markup import element, join, label, text, visible


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def _read(markup: str) -> _Reader:
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(st.text())
def test_any_string_stays_text_inside_an_element(raw: str) -> None:
    reader = _read(element("p", {}, text(raw)))

    assert [tag for tag, _ in reader.tags] == ["p"]
    assert reader.words == visible(raw)


@given(st.text())
def test_any_string_stays_one_attribute_value(raw: str) -> None:
    reader = _read(element("p", {"title": raw}))

    assert reader.tags == [("p", {"title": visible(raw)})]


@given(st.text(alphabet=st.characters()))
def test_any_string_gives_well_formed_xml_and_utf8(raw: str) -> None:
    written = element("p", {"title": raw}, text(raw))

    assert ElementTree.fromstring(written.encode()).text in (visible(raw), None)


@pytest.mark.parametrize(
    "code", [0x00, 0x0D, 0x1B, 0x7F, 0x85, 0x200B, 0x200F, 0x202E, 0x2066, 0x2069, 0xD800, 0xFEFF, 0xFFFF]
)
def test_a_disguising_character_is_shown_as_its_code_point(code: int) -> None:
    assert visible(f"a{chr(code)}b") == f"a⟨U+{code:04X}⟩b"


@pytest.mark.parametrize("name", ["Größe", "猫", "كلب", "कुत्ता", "naïve café", "🐸", "a\tb\nc"])
def test_honest_names_of_any_script_are_left_alone(name: str) -> None:
    assert visible(name) == name


def test_a_name_is_isolated_from_the_direction_of_its_surroundings() -> None:
    assert label("كلب") == "<bdi>كلب</bdi>"


def test_joining_puts_a_piece_between() -> None:
    assert join([text("a"), text("<")], text("&")) == html.escape("a&<")
