import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustmq_trt.report.charts import WIDTH, Mark, Row, dots, lines, scatter
from robustmq_trt.report.svg import Scale, marker, scale_around, ticks

_figures = st.floats(-1e15, 1e15) | st.just(math.nan)
_SVG = "{http://www.w3.org/2000/svg}"


def _mark(y: float = 0.5, low: float = 0.4, high: float = 0.6, x: float = 1.0, slot: int = 0) -> Mark:
    return Mark(slot=slot, hollow=False, y=y, low=low, high=high, title="t", name="engine", x=x, x_low=x, x_high=x)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_a_scale_puts_its_borders_at_its_ends(low: float, width: float) -> None:
    scale = Scale(low=low, high=low + width, start=10, end=200)

    assert scale.at(scale.low) == pytest.approx(10)
    assert scale.at(scale.high) == pytest.approx(200)


def test_a_bent_scale_is_a_logarithm_shifted_by_one() -> None:
    scale = Scale(low=0, high=1000, start=0, end=100, bend=10)

    assert scale.at(100) == pytest.approx(100 * math.log(11) / math.log(101))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_scale_of_shares_holds_them_all_and_stays_a_share(values: list[float]) -> None:
    scale = scale_around(values, 0, 100, floor=0.0, ceiling=1.0)

    assert 0 <= scale.low <= min(values)
    assert max(values) <= scale.high <= 1 or max(values) == 0


@given(st.floats(0, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, width: float) -> None:
    scale = scale_around([low, low + width], 0, 100, floor=-math.inf, ceiling=math.inf)

    assert 2 <= len(ticks(scale)) <= 12
    assert all(scale.low - 1e-6 * abs(scale.high) <= tick <= scale.high * (1 + 1e-6) for tick in ticks(scale))


@given(st.lists(st.tuples(_figures, _figures, _figures, _figures), max_size=6), st.text())
def test_every_drawing_is_well_formed_xml_inside_its_canvas(figures: list[tuple[float, ...]], words: str) -> None:
    marks = [_mark(*figure, slot=slot) for slot, figure in enumerate(figures)]
    whole = [mark for mark in marks if math.isfinite(mark.x) and math.isfinite(mark.y)]
    drawings = [
        dots([Row(label=words, note=words, marks=tuple(marks))], label=words),
        scatter(whole, x_label=words, y_label=words, label=words),
        lines([marks], x_label=words, y_label=words, label=words),
    ]

    for drawing in drawings:
        root = ElementTree.fromstring(drawing.encode())
        for circle in root.iter(f"{_SVG}circle"):
            assert 0 <= float(circle.attrib["cx"]) <= WIDTH


def test_an_interval_is_drawn_as_long_as_it_is() -> None:
    row = Row(label="clean", note="", marks=(_mark(0.5, 0.25, 0.75),))

    root = ElementTree.fromstring(dots([row], label="x"))

    bars = [bar for bar in root.iter(f"{_SVG}line") if "bar" in bar.attrib["class"]]
    x = float(next(root.iter(f"{_SVG}circle")).attrib["cx"])
    assert x - float(bars[0].attrib["x1"]) == pytest.approx(float(bars[0].attrib["x2"]) - x, abs=0.11)


def test_a_figure_that_is_missing_is_said_in_its_row() -> None:
    row = Row(label="clean", note="", marks=(_mark(math.nan, math.nan, math.nan),))

    assert "not measured" in dots([row], label="x")


def test_engines_differ_in_shape_and_not_in_colour_alone() -> None:
    shapes = {marker(slot, 0, 0).replace(f"s{slot}", "s") for slot in range(6)}

    assert len(shapes) == 6


def test_the_whole_of_a_long_label_is_its_tooltip() -> None:
    name = "an engine with a very long name " * 5

    drawing = dots([Row(label=name, note="", marks=(_mark(),))], label="x")

    assert f"<title>{name}</title>" in drawing
    assert "…" in drawing


def test_names_beside_marks_cover_neither_marks_nor_each_other() -> None:
    near = [_mark(0.5, x=1.0), _mark(0.5, x=1.1, slot=1), _mark(0.51, x=1.2, slot=2)]

    root = ElementTree.fromstring(scatter(near, x_label="x", y_label="y", label="z"))

    places = {(word.attrib["x"], word.attrib["y"]) for word in root.iter(f"{_SVG}text") if word.text == "engine"}
    assert len(places) == sum(word.text == "engine" for word in root.iter(f"{_SVG}text")) >= 2


def test_equal_curves_stand_side_by_side() -> None:
    root = ElementTree.fromstring(lines([[_mark()], [_mark()]], x_label="x", y_label="y", label="z"))

    assert len({circle.attrib["cx"] for circle in root.iter(f"{_SVG}circle")}) == 2


def test_a_logarithmic_axis_names_its_strengths_and_always_the_last() -> None:
    marks = [_mark(x=x) for x in (0, 1, 5, 10, 20, 50, 100, 200, 300)]

    root = ElementTree.fromstring(lines([marks], x_label="x", y_label="y", label="z"))

    numbers = [word.text for word in root.iter(f"{_SVG}text") if word.attrib["class"] == "tick"]
    assert {"300", "0"} <= set(numbers)
