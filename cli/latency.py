"""`latency`: times engines side by side, one request after the other and in bulk, alone and with preprocessing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from .. import assets
from ..core.errors import InputError
from ..engines.remote_statistics import times_apart
from ..evaluate.energy import Energy
from ..evaluate.energy_counters import Source, find_sources
from ..evaluate.latency import Content, measure_latency
from ..evaluate.rates import any_failed
from ..evaluate.stopwatch import Budget
from ..evaluate.timing import LatencyReport, Timing
from ..inputs.dataset import Dataset, Sample
from ..inputs.pipeline import Pipeline
from ..inputs.sources import open_dataset
from .isolation import add_isolation, door
from .options import PARTIAL, Subparsers, add_common, add_data, print_json, seconds, table
from .progress import Progress
from .targets import Opened, opened_targets

_TIMED_IMAGES = 64
_FULL_SECONDS = 5.0
_SHORT_QUERIES, _SHORT_BATCHES = 100, (1, 8, 32)


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "latency", help="time engines side by side", description=__doc__
    )
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="model.onnx; the first is the reference")
    add_data(parser, required=False)
    parser.add_argument("--seconds", type=seconds, default=10.0, help="per target, scenario and scope (default 10)")
    add_isolation(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    progress = Progress(quiet=options.quiet)
    dataset = open_dataset(options.data or assets.images_dir("eval"), options.labels, unlabelled=True)
    if options.images is not None:
        dataset = dataset.subset(min(options.images, len(dataset)), options.seed)
    with opened_targets(
        options.targets, preset=options.preset, threads=options.threads, batch=1, door=door(options)
    ) as targets:
        progress.stage(f"Timing {len(targets)} engines for {options.seconds:g} s per figure")
        before = [opened.target.engine.provenance() for opened in targets]
        report = time_targets(
            targets, dataset, budget_seconds=options.seconds, seed=options.seed, sources=find_sources()
        )
        apart = _times_apart(targets, before)
    if options.json:
        print_json({**report.to_json(), "servers": apart})
    else:
        servers = [_server_line(name, times) for name, times in apart.items()]
        print("\n\n".join([latency_table(report), *map(_energy_line, report.energies), *servers]))
    return PARTIAL if any_failed(report.records()) else 0


def time_targets(
    targets: Sequence[Opened],
    dataset: Dataset,
    *,
    budget_seconds: float,
    seed: int,
    sources: Sequence[Source] = (),
) -> LatencyReport:
    """Time engines on the first images of the data set that decode, and meter them by sources of energy counters.

    Raises:
        InputError: If no image decodes.
    """
    pipeline = targets[0].target.pipeline
    decodable = (content for sample in dataset.samples if (content := _decodable(pipeline, sample)) is not None)
    contents = list(islice(decodable, _TIMED_IMAGES))
    if not contents:
        raise InputError("No image of the data set can be decoded, so there is nothing to time.")
    # A short measurement gives up the upper bound of p99 and the largest batch rather than its promise of being short.
    short = Budget(seconds=budget_seconds, min_queries=_SHORT_QUERIES, min_batches=1, batches=_SHORT_BATCHES)
    budget = Budget(seconds=budget_seconds) if budget_seconds >= _FULL_SECONDS else short
    engines = [opened.target for opened in targets]
    return measure_latency(engines, contents, budget=budget, seed=seed, sources=sources)


def report_figures(report: LatencyReport) -> list[dict[str, Any]]:
    """Give the figures as the report's JSON data; where an engine failed, one without a number, and the reason."""
    return [figure for timing in report.to_json()["timings"] for figure in _figures(timing)]


def latency_table(report: LatencyReport) -> str:
    """Set the timings as text, with what is inside each clock below."""
    rows = [_row(timing) for timing in report.timings]
    header = ["engine", "scenario", "scope", "batch", "figures [95 %]", "against the first", "verdict"]
    clocks = dict.fromkeys(f"{t.scenario}, {t.scope}: {t.definition}" for t in report.timings)
    return "\n\n".join([table(header, rows), "\n".join(clocks)])


def _times_apart(targets: Sequence[Opened], before: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Give the times inside and outside of every target that is a server."""
    found = {
        opened.target.name: times_apart(earlier, opened.target.engine.provenance())
        for opened, earlier in zip(targets, before, strict=True)
    }
    return {name: times for name, times in found.items() if times is not None}


def _energy_line(energy: Energy) -> str:
    found = energy.per_image
    if found is None:
        return f"{energy.engine}: no energy by {energy.source}: {energy.reason}"
    return (
        f"{energy.engine}: {found.value:.3g} [{found.low:.3g}, {found.high:.3g}] J per image by {energy.source} "
        f"({', '.join(energy.counters)}), batch {energy.batch}, n = {found.n}; {energy.definition}"
    )


def _server_line(name: str, times: dict[str, Any]) -> str:
    said = f"{name}: {times['client_ms']:.3g} ms per request on the client's clock"
    if times["server_ms"] is None:
        return f"{said}; the server tells no times of its own"
    phases = ", ".join(f"{phase} {value:.3g}" for phase, value in times["phases_ms"].items())
    foreign = f"; {times['foreign']} requests of others among them" if times["foreign"] else ""
    return (
        f"{said}, {times['server_ms']:.3g} ms inside the server ({phases}); mean of {times['requests']} requests of "
        f"all batch sizes{foreign}"
    )


def _decodable(pipeline: Pipeline, sample: Sample) -> Content | None:
    try:
        content = sample.read()
        pipeline.load(content)
    except InputError:
        return None
    return content


def _figures(timing: dict[str, Any]) -> list[dict[str, Any]]:
    none = {"value": None, "low": None, "high": None, "n": 0}
    failed = {"p50" if timing["scenario"] == "single-stream" else "throughput": none}
    return [
        {
            **{key: timing[key] for key in ("engine", "scenario", "scope", "verdict", "reason")},
            "metric": "images_per_second" if name == "throughput" else f"{name}_ms",
            **{key: figure[key] for key in ("value", "low", "high", "n")},
            "clock": timing["definition"],
        }
        for name, figure in (timing["statistics"] or failed).items()
    ]


def _row(timing: Timing) -> list[str]:
    figures = ", ".join(f"{name} {i.value:.4g} [{i.low:.4g}, {i.high:.4g}]" for name, i in timing.statistics.items())
    ratio = timing.speedup
    against = "" if ratio is None else f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"
    unstable = f"unstable ({timing.spread:.0%} between rounds)"
    return [
        timing.engine,
        timing.scenario,
        timing.scope,
        str(timing.batch),
        f"{figures} {timing.unit}" if figures else "-",
        against,
        timing.reason or ("stable" if timing.stable else unstable),
    ]
