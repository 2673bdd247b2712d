"""The sections one looks things up in: attacks, all figures, latency, audit, images and totals, reading, provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..core.record import Record
from . import format as wording
from .document import Audit, Latency, Layer
from .lookup import CHECKS, GROUPS, ROUTES, group_of
from .markup import NOTHING, Markup, element, join, label, text
from .parts import Column, View, absent, bounded, flag_list, paragraph, record_flags, section, table

_ATTACK_METRICS = (
    ("robust_accuracy", "Raw"),
    ("adversarial_robustness", "AR"),
    ("common_correct_accuracy", "Common-correct"),
    ("mean_queries", "Queries, mean"),
    ("median_queries", "Median"),
)
_METRICS = {"p50_ms": "p50", "p90_ms": "p90", "p99_ms": "p99", "images_per_second": "Images per second"}
_UNITS = {"p50_ms": "ms", "p90_ms": "ms", "p99_ms": "ms", "images_per_second": "images/s"}
_SCOPES = {"engine": "engine alone", "end-to-end": "end to end"}
_READING = {
    "Interval": "95 % bounds beside every figure: Wilson for a rate, paired bootstrap for a difference.",
    "p after Holm": "Exact McNemar test on the same images (of a mean over conditions the paired z-test), adjusted for "
    "all comparisons; it decides at 0.05. The intervals are not adjusted, so one may leave out zero "
    "where the adjusted test still finds no difference.",
    "Not distinguishable": "The images do not tell the two engines apart. It is no proof that they are equal: a true "
    "difference up to the detectable one may hide there.",
    "Detectable": "The smallest true difference that this many images would reveal four times out of five.",
    "Raw robust accuracy": "Images right before and after the attack, out of all images.",
    "AR": "Images right before and after, out of those this engine gets right when clean; so each engine has its own "
    "denominator.",
    "Common-correct": "The same, out of the images that every compared engine gets right when clean.",
    "Flips": "Images on which the engine's answer became wrong, or right, against the reference. Equal accuracy can "
    "hide many.",
    "Integer coverage": "Share of the multiply-accumulates whose weights and activations enter an integer kernel, read "
    "from the built engine.",
    "Flags": "Warnings that belong to a figure, such as signs that an engine hides its gradients instead of resisting.",
}


def attacks(shown: View) -> Markup:
    """Set raw, AR and common-correct robust accuracy side by side, with the queries spent."""
    records = [r for r in shown.document.records if group_of(r.condition) in ("attacks", CHECKS)]
    if not records:
        return section("attacks", "Under attack", absent("No attacks were run."))
    raw, *others = (Column(title=title, numeric=True) for _, title in _ATTACK_METRICS)
    columns = [Column(title="Engine"), raw, Column(title="Difference", numeric=True), Column(title="Verdict"), *others]
    columns.append(Column(title="Attacker sees"))
    groups = []
    for condition in dict.fromkeys(record.condition for record in records):
        here = [record for record in records if record.condition == condition]
        rows = [_attack_row(shown, here, engine) for engine in dict.fromkeys(r.engine for r in here)]
        groups.append((wording.condition_title(condition), rows))
    content = table("Figures under attack", columns, groups)
    return section("attacks", "Under attack", content, record_flags(records))


def _attack_row(shown: View, records: list[Record], engine: str) -> list[Markup]:
    own = {record.metric: record for record in records if record.engine == engine}
    first, *others = (_figure(own.get(metric)) for metric, _ in _ATTACK_METRICS)
    raw = own.get("robust_accuracy")
    sees = next((str(r.identity["score_access"]) for r in own.values() if "score_access" in r.identity), wording.NONE)
    return [shown.engine(engine), first, _gap(raw), _verdict(shown, raw), *others, text(sees)]


def _verdict(shown: View, record: Record | None) -> Markup:
    if record is not None and record.comparison is not None:
        return text(record.comparison.verdict)
    return text("reference" if record is not None and record.engine == shown.hollow else wording.NONE)


def _figure(record: Record | None) -> Markup:
    if record is None:
        return text(wording.NONE)
    unit = "" if record.unit == "queries" else record.unit  # the metric's name says it
    bounds = wording.interval(record.low, record.high, unit)
    return bounded(wording.quantity(record.value, unit), bounds, flagged=bool(record.flags))


def _gap(record: Record | None) -> Markup:
    if record is None or record.comparison is None:
        return text(wording.NONE)
    test = record.comparison
    bounds = wording.difference_interval(test.low, test.high, record.unit)
    return bounded(wording.difference(test.difference, record.unit), bounds)


def figures(shown: View) -> Markup:
    """List every record."""
    records = shown.document.records
    if not records:
        return section("figures", "All figures", absent("The document holds no records."))
    columns = [
        Column(title="Engine"),
        Column(title="Metric"),
        Column(title="Value", numeric=True),
        Column(title="n", numeric=True),
        Column(title="Difference", numeric=True),
        Column(title="p, Holm", numeric=True),
        Column(title=f"Flips {wording.MINUS} / +", numeric=True),
        Column(title="Detectable", numeric=True),
        Column(title="Verdict and flags"),
    ]
    ordered = [
        name
        for group in (*GROUPS, CHECKS, ROUTES)
        for name in dict.fromkeys(r.condition for r in records)
        if group_of(name) == group
    ]
    groups = [
        (wording.condition_title(name), [_line(shown, r) for r in records if r.condition == name]) for name in ordered
    ]
    content = table("All figures", columns, groups)
    summary = element("summary", {}, text(f"{wording.plural(len(records), 'record')}, one per line"))
    return section("figures", "All figures", element("details", {}, summary, content))


def _line(shown: View, record: Record) -> list[Markup]:
    test = record.comparison
    cells = [text(wording.NONE)] * 3
    if test is not None:
        cells = [
            text(wording.p_value(test.p_holm).removeprefix("p\u00a0").removeprefix("=\u00a0")),
            text(f"{test.right_to_wrong} / {test.wrong_to_right}"),
            text(wording.points(test.detectable).lstrip("+")),
        ]
    return [
        shown.engine(record.engine),
        text(wording.metric_label(record.metric)),
        _figure(record),
        text(wording.number(record.n)),
        _gap(record),
        *cells,
        join([_verdict(shown, record), flag_list(record.flags)]),
    ]


def latency(shown: View) -> Markup:
    """Show the timed figures, each table with the definition of its clock."""
    entries = shown.document.latency
    if not entries:
        return section("latency", "Latency", absent("No latency was measured."))
    kinds = dict.fromkeys((entry.scenario, entry.scope) for entry in entries)
    blocks = (_timing(shown, [e for e in entries if (e.scenario, e.scope) == kind]) for kind in kinds)
    return section("latency", "Latency", *blocks)


def _timing(shown: View, entries: list[Latency]) -> Markup:
    metrics = list(dict.fromkeys(entry.metric for entry in entries))
    columns = [Column(title="Engine"), *(Column(title=_METRICS[metric], numeric=True) for metric in metrics)]
    columns += [Column(title="n", numeric=True), Column(title="Timing")]
    rows = []
    for engine in dict.fromkeys(entry.engine for entry in entries):
        own = {entry.metric: entry for entry in entries if entry.engine == engine}
        cells = [_timed(own.get(metric)) for metric in metrics]
        verdicts = {entry.verdict for entry in own.values()}
        flags = [entry.reason for entry in own.values() if entry.reason]
        flags += ["unstable"] if "unstable" in verdicts else []
        count = text(wording.number(max(entry.n for entry in own.values())))
        rows.append([shown.engine(engine), *cells, count, flag_list(flags) if flags else text("stable")])
    title = f"{entries[0].scenario.capitalize()}, {_SCOPES[entries[0].scope]}"
    clocks = dict.fromkeys(entry.clock for entry in entries)
    definition = join(paragraph(f"Inside the clock: {clock}", "note") for clock in clocks)
    return element(
        "div", {"class": "block"}, element("h3", {}, text(title)), table(title, columns, [("", rows)]), definition
    )


def _timed(entry: Latency | None) -> Markup:
    if entry is None:
        return text(wording.NONE)
    unit = _UNITS[entry.metric]
    bounds = wording.interval(entry.low, entry.high, unit)
    return bounded(wording.quantity(entry.value, unit), bounds, flagged=entry.verdict == "unstable")


def audits(shown: View) -> Markup:
    """Show, per engine, which kernel ran each layer, folded away below its sum."""
    found = shown.document.audits
    if not found:
        return section(
            "audit", "What ran in integers", absent("No engine was audited: which kernels ran is not known.")
        )
    return section("audit", "What ran in integers", *(_audit(shown, audit) for audit in found))


def _audit(shown: View, audit: Audit) -> Markup:
    columns = [
        Column(title="Layer"),
        Column(title="Operator"),
        Column(title="Kernel"),
        Column(title="Arithmetic"),
        Column(title="MACs", numeric=True),
        Column(title="Share of time", numeric=True),
        Column(title="Why"),
    ]
    rows = [_layer(layer) for layer in audit.layers]
    coverage = (
        "coverage not known"
        if audit.integer_coverage is None
        else f"{wording.percent(audit.integer_coverage)} of the arithmetic in integer kernels"
    )
    words = element("span", {}, text(f": {coverage}, {wording.plural(len(rows), 'layer')}"))
    summary = element("summary", {}, shown.engine(audit.engine), words)
    content = (
        table(f"Layers of {audit.engine}", columns, [("", rows)]) if rows else absent("The audit lists no layers.")
    )
    evidence = paragraph(f"Read from: {', '.join(audit.evidence)}.", "note") if audit.evidence else NOTHING
    return join([flag_list(audit.notes), element("details", {}, summary, content, evidence)])


def _layer(layer: Layer) -> list[Markup]:
    sign = {"integer": "■", "float": "□", "unknown": "?"}[layer.compute]
    time = text(wording.NONE) if math.isnan(layer.share_of_time) else text(wording.percent(layer.share_of_time))
    macs = text(wording.number(layer.macs) if layer.macs else ("unknown" if layer.macs is None else wording.NONE))
    arithmetic = text(f"{sign} {layer.compute}")
    return [
        label(layer.name),
        text(layer.operator),
        text(layer.kernel),
        arithmetic,
        macs,
        time,
        text(layer.reason or ""),
    ]


def images(shown: View) -> Markup:
    """Show the data set, the files that failed, and the cells of the plan that gave no number."""
    data, totals = shown.document.dataset, shown.document.totals
    facts = [
        ("Data set", label(data.name)),
        ("Images", text(wording.number(data.images))),
        ("Classes", text(wording.number(data.classes))),
        ("Manifest", element("code", {}, text(data.manifest_sha256))),
        ("Files that failed", text(wording.number(len(data.failures)))),
        ("Cells planned", text(wording.number(totals.cells))),
        ("Measured", text(wording.number(totals.measured))),
        ("Skipped", text(wording.number(totals.skipped))),
        ("Failed", text(wording.number(totals.failed))),
    ]
    lists = [
        _reasons("Files that could not be used", [(failure.name, failure.reason) for failure in data.failures]),
        _reasons("Cells without a number", [(wording.condition_title(r.cell), r.reason) for r in totals.reasons]),
    ]
    return section("images", "Images and totals", _facts(facts), *lists)


def _reasons(title: str, pairs: list[tuple[str, str]]) -> Markup:
    if not pairs:
        return NOTHING
    items = (element("li", {}, label(name), text(": "), text(reason)) for name, reason in pairs)
    return join([element("h3", {}, text(title)), element("ul", {"class": "reasons"}, *items)])


def reading() -> Markup:
    """Explain the words of the page."""
    return section(
        "reading", "How to read this", _facts([(term, text(words)) for term, words in _READING.items()], "facts wide")
    )


def provenance(shown: View) -> Markup:
    """Show hashes, command, versions and hardware."""
    document = shown.document
    hashes = [(f"{target.file}", element("code", {}, text(target.sha256))) for target in document.targets]
    head = [("Created", text(document.created)), ("Command", element("code", {}, text(document.command))), *hashes]
    rest = _nested(document.provenance) if document.provenance else absent("The document holds no further provenance.")
    return section("provenance", "Provenance", _facts(head), rest)


def _nested(value: Any) -> Markup:
    if isinstance(value, Mapping):
        return _facts([(str(key), _nested(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return element("ul", {"class": "plain"}, *(element("li", {}, _nested(item)) for item in value))
    return text(
        wording.NONE if value is None else ("yes" if value else "no") if isinstance(value, bool) else str(value)
    )


def _facts(pairs: list[tuple[str, Markup]], name: str = "facts") -> Markup:
    rows = (element("div", {}, element("dt", {}, text(key)), element("dd", {}, value)) for key, value in pairs)
    return element("dl", {"class": name}, *rows)
