"""One sentence per question, worded from the records with figures, interval, n and p; no markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..core.record import Comparison, Record
from . import format as wording
from .document import Document, Latency, Target
from .lookup import (
    ALL_CORRUPTIONS,
    GROUPS,
    Group,
    find,
    find_latency,
    group_records,
    reference,
    subjects,
    timed_scope,
)
from .mce import mce_sentences

Tone = Literal["good", "bad", "neutral", "missing"]

_NEUTRAL: Tone = "neutral"
_WHOLE = 0.95  # below this share the engine is called integer only in part
_QUESTIONS: dict[Group, str] = {
    "clean": "Is it as accurate?",
    "corruptions": "Is it more fragile to corruptions?",
    "preprocessing": "Is it more fragile to preprocessing?",
    "attacks": "Is it more fragile under attack?",
}
_SCOPES = {"engine": "engine alone", "end-to-end": "decoding and preprocessing included"}
_ABSENT: dict[Group, str] = {
    "clean": "No clean accuracy was measured",
    "corruptions": "No corruptions were run",
    "preprocessing": "No other preprocessing was run",
    "attacks": "No attacks were run",
}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The answer to one question about one engine.

    Attributes:
        engine: The engine in question.
        question: What is asked.
        short: The answer in a few words.
        sentence: The same with its figures.
        tone: Whether the answer speaks for the engine.
        flags: Warnings that belong to the figures in the sentence.
    """

    engine: str
    question: str
    short: str
    sentence: str
    tone: Tone
    flags: tuple[str, ...] = ()


def headlines(document: Document) -> tuple[Headline, ...]:
    """Answer the six questions for every candidate, in reading order."""
    answers = []
    for target in subjects(document):
        clean, *changed = (_fragility(document, target, group) for group in GROUPS)
        answers += [clean, _integer(document, target), _speed(document, target), *changed]
    return tuple(answers)


def verdicts(document: Document) -> tuple[str, ...]:
    """Sum the headline up in a few sentences per candidate."""
    base = reference(document)
    lines = tuple(_verdict(document, target, base) for target in subjects(document))
    return lines or ("No engine was measured.",)


def compare(record: Record, base: Record | None) -> str:
    """Word one figure beside the reference's, with the paired test that decides.

    Args:
        record: The candidate's record.
        base: The reference's record under the same condition, if there is one.
    """
    images = wording.plural(record.n, "image")
    bounds = wording.interval(record.low, record.high, record.unit)
    own = f"{record.engine} reaches {wording.figure(record)} of {images}" + (
        f" (95\u00a0% interval {bounds})" if bounds else ""
    )
    test = record.comparison
    if test is None or base is None:
        return f"{own}. There is no reference to compare with."
    return f"{own}, {base.engine} {wording.figure(base)}. {_paired(test, record.unit)}"


def _paired(test: Comparison, unit: str) -> str:
    gap = wording.difference(test.difference, unit)
    bounds = wording.difference_interval(test.low, test.high, unit)
    adjusted = f"{wording.p_value(test.p_holm)} after Holm"
    counts = f"{wording.plural(test.right_to_wrong, 'image')} lost, {test.wrong_to_right} gained"
    if test.verdict == "not distinguishable":
        limit = wording.points(test.detectable).lstrip("+")
        return (
            f"The difference of {gap} ({bounds}) is not distinguishable from zero ({adjusted}; {counts}); "
            f"a true difference of {limit} would have been found four times out of five."
        )
    return f"The difference of {gap} ({bounds}) is significant ({adjusted}; {counts})."


def _fragility(document: Document, target: Target, group: Group) -> Headline:
    records = group_records(document, target.name, group)
    if not records:
        return _missing(target, _QUESTIONS[group], f"{_ABSENT[group]} on {target.name}.")
    tests = [record.comparison for record in records if record.comparison is not None]
    if not tests:
        return _unpaired(document, target, group, records)
    worse, better = (sum(test.verdict == word for test in tests) for word in ("worse", "better"))
    flags = _flags(records)
    short = _short(group, len(tests), worse, better)
    return Headline(
        engine=target.name,
        question=_QUESTIONS[group],
        short=short if worse else short + _doubt(records),
        sentence=_detail(document, target, group, records)
        + (mce_sentences(document, target) if group == "corruptions" else ""),
        tone="bad" if worse else ("good" if better and not flags else "neutral"),
        flags=flags,
    )


def _flags(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(flag for record in records for flag in record.flags))


def _detail(document: Document, target: Target, group: Group, records: Sequence[Record]) -> str:
    paired = [(record, record.comparison) for record in records if record.comparison is not None]
    worst, test = min(paired, key=lambda pair: pair[1].difference)
    whole = compare(worst, find(document, test.reference, worst.condition, worst.metric))
    if len(paired) == 1:
        return whole if group == "clean" else f"{wording.condition_title(worst.condition)}: {whole}"
    tally = _tally(target.name, [test for _, test in paired])
    mean = find(document, target.name, ALL_CORRUPTIONS, "mean_accuracy") if group == "corruptions" else None
    if mean is None or mean.comparison is None:
        return f"{tally} {_lead(worst, test)}: {whole}"
    average = compare(mean, find(document, mean.comparison.reference, mean.condition, mean.metric))
    bounds = wording.difference_interval(test.low, test.high, worst.unit)
    gap = f"{wording.difference(test.difference, worst.unit)} ({bounds}; {wording.p_value(test.p_holm)} after Holm)"
    return f"On average, {average} {tally} {_lead(worst, test)}: {gap}."


def _tally(name: str, tests: Sequence[Comparison]) -> str:
    worse, better = (sum(test.verdict == word for test in tests) for word in ("worse", "better"))
    rest = len(tests) - worse - better
    return f"Of {len(tests)} conditions {name} is worse in {worse}, better in {better}, not distinguishable in {rest}."


def _lead(worst: Record, test: Comparison) -> str:
    words = "Largest loss" if test.difference < 0 else ("Smallest gain" if test.difference > 0 else "No difference")
    return f"{words}, {wording.condition_label(worst.condition)}"


def _doubt(records: Sequence[Record]) -> str:
    """Say how many of the better figures carry a flag: an advantage that is suspected of being none is not praised."""
    better = [record for record in records if record.comparison is not None and record.comparison.verdict == "better"]
    flagged = sum(bool(record.flags) for record in better)
    if not flagged:
        return ""
    return ", flagged" if flagged == len(better) else f", {flagged} flagged"


def _short(group: Group, count: int, worse: int, better: int) -> str:
    if count > 1:
        if worse:
            return f"Worse in {worse} of {count}"
        return f"Better in {better} of {count}" if better else "Not distinguishable"
    if worse:
        return "No, worse" if group == "clean" else "Yes, worse"
    return "Better" if better else "Not distinguishable"


def _unpaired(document: Document, target: Target, group: Group, records: Sequence[Record]) -> Headline:
    lowest = min(records, key=lambda record: record.value)
    where = "" if group == "clean" else f"Lowest, {wording.condition_label(lowest.condition)}: "
    return Headline(
        engine=target.name,
        question=_QUESTIONS[group],
        short=wording.figure(lowest),
        sentence=where + compare(lowest, None),
        tone="neutral",
        flags=_flags(records),
    )


def _integer(document: Document, target: Target) -> Headline:
    question = "Does it run in integers?"
    coverage = target.integer_coverage
    if coverage is None:
        return _missing(target, question, f"{target.name} was not audited: which kernels ran is not known.")
    audits = [audit for audit in document.audits if audit.engine == target.name]
    layers = [layer for audit in audits for layer in audit.layers if layer.macs != 0]
    sentence = f"{wording.percent(coverage)} of the multiply-accumulates of {target.name} run in integer kernels"
    if layers:
        floats = sum(layer.compute == "float" for layer in layers)
        sentence += f"; {floats} of {wording.plural(len(layers), 'multiplying layer')} stayed in float"
    notes = tuple(dict.fromkeys(note for audit in audits for note in audit.notes))
    partly = 0 < coverage < _WHOLE
    short = f"Partly, {wording.percent(coverage)}" if partly else wording.percent(coverage)
    tone: Tone = "good" if coverage >= _WHOLE else ("neutral" if target.precision.startswith("fp") else "bad")
    return Headline(engine=target.name, question=question, short=short, sentence=f"{sentence}.", tone=tone, flags=notes)


def _speed(document: Document, target: Target) -> Headline:
    question, base = "Is it faster?", reference(document)
    names = [target.name] if base is None or base is target else [target.name, base.name]
    scope = timed_scope(document, names)
    if scope is None:
        return _missing(target, question, f"No latency was measured for {' and '.join(names)}.")
    entries = [entry for name in names if (entry := find_latency(document, name, scope, "p50_ms"))]
    short, tone = (wording.quantity(entries[0].value, "ms"), _NEUTRAL) if len(entries) < 2 else _ratio(*entries)
    return Headline(
        engine=target.name,
        question=question,
        short=short,
        sentence=f"Median of a single request, {_SCOPES[scope]}: {', '.join(map(_timed, entries))}.",
        tone=tone,
        flags=tuple(f"unstable timing: {entry.engine}" for entry in entries if entry.verdict == "unstable"),
    )


def _ratio(own: Latency, base: Latency) -> tuple[str, Tone]:
    if min(own.value, base.value) <= 0:
        return "Not comparable", "missing"
    if not (own.low > base.high or base.low > own.high):  # nor with bounds that were not measured
        return "Not distinguishable", "neutral"
    faster = base.value / own.value
    return (f"{faster:.1f} times faster", "good") if faster > 1 else (f"{1 / faster:.1f} times slower", "bad")


def _timed(entry: Latency) -> str:
    bounds = wording.interval(entry.low, entry.high, "ms")
    within = ", ".join(part for part in (bounds, f"n\u00a0=\u00a0{wording.number(entry.n)}") if part)
    return f"{entry.engine} {wording.quantity(entry.value, 'ms')} ({within})"


def _missing(target: Target, question: str, sentence: str) -> Headline:
    return Headline(engine=target.name, question=question, short="Not measured", sentence=sentence, tone="missing")


def _verdict(document: Document, target: Target, base: Target | None) -> str:
    if base is None or base is target:
        return f"{target.name} was measured alone: there is no reference to compare it with."
    clean = find(document, target.name, "clean", "accuracy")
    clauses = []
    if clean is not None and clean.comparison is not None:
        words = clean.comparison.verdict
        tail = "from" if words == "not distinguishable" else "than"
        clauses.append(f"is {words} {tail} {base.name} on clean images")
    if target.integer_coverage is not None:
        clauses.append(f"runs {wording.percent(target.integer_coverage)} of its arithmetic in integers")
    speed = _speed(document, target)
    if speed.tone in ("good", "bad"):
        clauses.append(f"is {speed.short}" + (" (unstable timing)" if speed.flags else ""))
    sentence = f"{target.name} {_listed(clauses)}." if clauses else f"{target.name} was compared with {base.name}."
    return sentence + _changed(document, target) + _flagged(document, target)


def _changed(document: Document, target: Target) -> str:
    records = [record for group in GROUPS[1:] for record in group_records(document, target.name, group)]
    tests = [record.comparison for record in records if record.comparison is not None]
    if not tests:
        return ""
    worse, better = (sum(test.verdict == word for test in tests) for word in ("worse", "better"))
    if not worse and not better:
        return f" None of {wording.plural(len(tests), 'changed condition')} tells the two apart."
    praise = f"better in {better}{_doubt(records)}"
    return f" Of {wording.plural(len(tests), 'changed condition')} it is worse in {worse} and {praise}."


def _flagged(document: Document, target: Target) -> str:
    count = sum(bool(record.flags) for group in GROUPS for record in group_records(document, target.name, group))
    return f" Flags stand beside {wording.plural(count, 'figure')}." if count else ""


def _listed(clauses: Sequence[str]) -> str:
    return clauses[0] if len(clauses) == 1 else ", ".join(clauses[:-1]) + f" and {clauses[-1]}"
