"""The sections one reads first: the answers, the engines compared, the diagrams, the example images."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import groupby

from . import format as wording
from .charts import Mark, Row, dots, lines, scatter
from .document import Answer, Curve, Example, Picture, Point
from .headline import Headline, headlines
from .lookup import Group, conditions, find, find_latency, main_metric, pareto_conditions
from .markup import NOTHING, Markup, element, join, label, text
from .parts import Column, View, absent, legend, paragraph, record_flags, section, table
from .parts import flag_list as flags_of

_TONES = {"good": "✓", "bad": "▼", "neutral": "≈", "missing": wording.NONE}
_PANELS: tuple[tuple[str, tuple[Group, ...]], ...] = (
    ("Clean images and other preprocessing", ("clean", "preprocessing")),
    ("Corruptions", ("corruptions",)),
    ("Attacks, robust accuracy", ("attacks",)),
)
_PANEL_ROWS = 6
_SCOPES = {"engine": "engine alone", "end-to-end": "end to end"}


def answers(shown: View) -> Markup:
    """Show one answer per question, candidate by candidate."""
    found = headlines(shown.document)
    if not found:
        return section("answers", "Answers", absent("No engine was measured, so there is nothing to answer."))
    several = len({headline.engine for headline in found}) > 1
    blocks = []
    for engine in dict.fromkeys(headline.engine for headline in found):
        if several:
            blocks.append(element("h3", {}, shown.engine(engine)))
        cards = (_card(headline) for headline in found if headline.engine == engine)
        blocks.append(element("div", {"class": "answers"}, *cards))
    return section("answers", "Answers", *blocks)


def _card(headline: Headline) -> Markup:
    sign = element("span", {"class": f"tone {headline.tone}", "aria-hidden": "true"}, text(_TONES[headline.tone]))
    return element(
        "article",
        {"class": "answer"},
        element("p", {"class": "question"}, text(headline.question)),
        element("p", {"class": "short"}, sign, text(headline.short)),
        paragraph(headline.sentence),
        flags_of(headline.flags),
    )


def targets(shown: View) -> Markup:
    """List the engines that were compared."""
    columns = [
        Column(title="Engine"),
        Column(title="Role"),
        Column(title="Precision"),
        Column(title="Size", numeric=True),
        Column(title="Integer coverage", numeric=True),
        Column(title="Runs on"),
        Column(title="File"),
    ]
    rows = [
        [
            shown.engine(target.name),
            text(target.role),
            text(target.precision),
            text(wording.size(target.size_bytes) if target.size_bytes else wording.NONE),
            text("not audited" if target.integer_coverage is None else wording.percent(target.integer_coverage)),
            text(target.engine),
            label(target.file),
        ]
        for target in shown.document.targets
    ]
    content = table("Engines compared", columns, [("", rows)]) if rows else absent("The document names no engine.")
    return section("targets", "Engines compared", content)


def pareto(shown: View) -> Markup:
    """Draw robust accuracy against latency, each engine with error bars both ways."""
    title, chosen = "Robustness against speed", pareto_conditions(shown.document)
    if not chosen:
        return section("pareto", title, absent("No accuracy was measured, so there is nothing to set against speed."))
    scope = next((s for s in _SCOPES for name in shown.slots if find_latency(shown.document, name, s, "p50_ms")), None)
    if scope is None:
        return section("pareto", title, absent("No latency was measured, so there is nothing to set against accuracy."))
    figures = [figure for condition, metric in chosen if (figure := _tradeoff(shown, condition, metric, scope))]
    if not figures:
        return section("pareto", title, absent("No engine has both an accuracy and a latency."))
    note = paragraph("Up is more robust, left is faster. Bars are 95 % intervals of both figures.", "note")
    unstable = [f"{name}: unstable timing" for name in shown.slots if _unstable(shown, name, scope)]
    drawn = element("div", {"class": "panels wide"}, *figures)
    return section("pareto", title, legend(shown, shown.slots), drawn, note, flags_of(unstable))


def _tradeoff(shown: View, condition: str, metric: str, scope: str) -> Markup | None:
    records = [r for name in shown.slots if (r := find(shown.document, name, condition, metric))]
    marks = [mark for record in records if (mark := _timed(shown, shown.mark(record), record.engine, scope))]
    if not marks:
        return None
    what = f"{_capital(wording.metric_label(metric))}, {wording.condition_label(condition)}"
    label_x = f"Median latency in ms, {_SCOPES[scope]}"
    drawing = scatter(marks, x_label=label_x, y_label="", label=f"{what} against latency")
    caption = element("figcaption", {}, text(what))
    return element("figure", {}, caption, drawing, paragraph(_dominance(shown, marks), "note"), record_flags(records))


def _timed(shown: View, mark: Mark, engine: str, scope: str) -> Mark | None:
    entry = find_latency(shown.document, engine, scope, "p50_ms")
    if entry is None:
        return None
    title = f"{mark.title}; {wording.quantity(entry.value, 'ms')}"
    return replace(mark, x=entry.value, x_low=entry.low, x_high=entry.high, title=title)


def _unstable(shown: View, engine: str, scope: str) -> bool:
    entry = find_latency(shown.document, engine, scope, "p50_ms")
    return entry is not None and entry.verdict == "unstable"


def _dominance(shown: View, marks: list[Mark]) -> str:
    names = {slot: name for name, slot in shown.slots.items()}
    beaten = {m.slot for m in marks for other in marks if other.x < m.x and other.low > m.high}
    if len(marks) < 2:
        return "Only one engine has both figures."
    if not beaten:
        return "No engine is both slower and, beyond its interval, less robust than another."
    return (
        "Slower and less robust than another, beyond the intervals: "
        + ", ".join(names[s] for s in sorted(beaten))
        + "."
    )


def by_condition(shown: View) -> Markup:
    """Draw accuracy under every condition, one panel per kind."""
    title = "Accuracy by condition"
    panels = [panel for name, groups in _PANELS for panel in _panels(shown, name, groups)]
    if not panels:
        return section("conditions", title, absent("No accuracy was measured under any condition."))
    missing = [name for name, groups in _PANELS if not _rows(shown, groups)]
    note = paragraph(
        "95 % intervals; each panel has its own axis. The note at the right is the paired test against the reference.",
        "note",
    )
    rest = [absent(f"Not run: {', '.join(missing).lower()}.")] if missing else []
    return section(
        "conditions", title, legend(shown, shown.slots), element("div", {"class": "panels"}, *panels), note, *rest
    )


def _panels(shown: View, title: str, groups: tuple[Group, ...]) -> list[Markup]:
    rows = _rows(shown, groups)
    names = [name for group in groups for name in conditions(shown.document.records, group)]
    wanted = {main_metric(group) for group in groups}
    panels = []
    for index, chunk in enumerate(_chunks(names)):
        here = [row for name, row in zip(names, rows, strict=True) if name in chunk]
        flagged = [r for r in shown.document.records if r.condition in chunk and r.metric in wanted]
        caption = element("figcaption", {}, text(title + (", continued" if index else "")))
        drawing = dots(here, label=f"{title}: accuracy with intervals", beside=rows)
        panels.append(element("figure", {}, caption, drawing, record_flags(flagged)))
    return panels


def _chunks(names: list[str]) -> list[list[str]]:
    """Cut a long list of conditions into panels, the severities of one corruption kept together."""
    chunks: list[list[str]] = []
    for _, kind in groupby(names, key=lambda name: name.partition(":")[0]):
        block = list(kind)
        if not chunks or len(chunks[-1]) + len(block) > _PANEL_ROWS:
            chunks.append(block)
        else:
            chunks[-1] += block
    return chunks


def _rows(shown: View, groups: tuple[Group, ...]) -> list[Row]:
    return [
        _row(shown, name, main_metric(group)) for group in groups for name in conditions(shown.document.records, group)
    ]


def _row(shown: View, condition: str, metric: str) -> Row:
    records = [r for name in shown.slots if (r := find(shown.document, name, condition, metric))]
    tests = [(r.comparison.verdict, r.comparison.difference) for r in records if r.comparison is not None]
    note = ""
    if len(tests) == 1:
        verdict, gap = tests[0]
        note = verdict if verdict == "not distinguishable" else f"{verdict}, {wording.points(gap)}"
    elif tests:
        worse = sum(verdict == "worse" for verdict, _ in tests)
        note = f"{worse} of {len(tests)} worse" if worse else "none worse"
    if any(record.flags for record in records):
        note = f"⚑ {note}".rstrip()
    words = wording.condition_title(condition)
    return Row(label=words, note=note, marks=tuple(shown.mark(record) for record in records))


def curves(shown: View) -> Markup:
    """Draw the curves, engines side by side, with error bars."""
    found = shown.document.curves
    if not found:
        return section("curves", "Curves", absent("No curve was measured: no condition was run at several strengths."))
    note = paragraph("Bars are 95 % intervals; a wide range of strengths is drawn on a logarithmic axis.", "note")
    figures = (_curve(shown, curve) for curve in found)
    return section("curves", "Curves", legend(shown, shown.slots), element("div", {"class": "panels"}, *figures), note)


def _curve(shown: View, curve: Curve) -> Markup:
    series = [[_spot(shown, one.engine, point, curve) for point in one.points] for one in curve.series]
    attack, at, strength = curve.title.partition(" at ")
    title = wording.condition_title(attack) + at + strength
    caption = element("figcaption", {}, text(title))
    if not any(math.isfinite(mark.y) for one in series for mark in one):
        return element("figure", {}, caption, absent("This curve holds no measured point."))
    drawing = lines(series, x_label=curve.x_label, y_label=curve.y_label, label=title, unit=curve.y_unit)
    return element("figure", {}, caption, drawing)


def _spot(shown: View, engine: str, point: Point, curve: Curve) -> Mark:
    figure, bounds = wording.quantity(point.y, curve.y_unit), wording.interval(point.low, point.high, curve.y_unit)
    return Mark(
        slot=shown.slots[engine],
        hollow=engine == shown.hollow,
        x=point.x,
        y=point.y,
        low=point.low,
        high=point.high,
        title=f"{engine}, {curve.x_label} {wording.number(point.x)}: {figure} ({bounds}), n = {point.n}",
    )


def examples(shown: View) -> Markup:
    """Show images in several states with every engine's answer."""
    found = shown.document.examples
    if not found:
        return section("examples", "Example images", absent("The document holds no example images."))
    return section("examples", "Example images", *(_example(shown, example) for example in found))


def _example(shown: View, example: Example) -> Markup:
    head = element("h3", {}, label(example.label), element("span", {"class": "file"}, label(example.name)))
    figures = (_picture(shown, example, picture) for picture in example.images)
    return element("article", {"class": "example"}, head, element("div", {"class": "pictures"}, *figures))


def _picture(shown: View, example: Example, picture: Picture) -> Markup:
    width, height = picture.pixels
    image = element(
        "img",
        {
            "src": f"data:image/png;base64,{picture.png_base64}",
            "alt": f"{example.label}, {picture.kind}: {_caption(shown, picture)}",
            "width": str(width),
            "height": str(height),
            **({"class": "pixels"} if width < 128 else {}),
        },
    )
    said = join(_said(shown, answer) for answer in picture.answers)
    caption = element(
        "figcaption",
        {},
        element("span", {"class": "kind"}, text(picture.kind)),
        element("span", {"class": "caption"}, text(_caption(shown, picture))),
        element("ul", {"class": "said"}, said) if picture.answers else NOTHING,
    )
    return element("figure", {}, image, caption)


def _caption(shown: View, picture: Picture) -> str:
    """A caption that is a condition is worded like one; any other stands as it is written."""
    conditions = {record.condition for record in shown.document.records}
    return wording.condition_label(picture.caption) if picture.caption in conditions else picture.caption


def _said(shown: View, answer: Answer) -> Markup:
    right = "right" if answer.correct else "wrong"
    sign = element(
        "span", {"class": f"tone {'good' if answer.correct else 'bad'}"}, text("✓" if answer.correct else "✗")
    )
    verdict = element("span", {"class": "hidden"}, text(f" ({right})"))
    return element(
        "li", {}, shown.engine(answer.engine), element("span", {"class": "word"}, sign, label(answer.answer), verdict)
    )


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
