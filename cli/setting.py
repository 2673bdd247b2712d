"""What a report says beside the measured numbers: engines, audits, latency, data and machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ..core.errors import EngineError
from ..core.provenance import provenance
from ..core.store import Store
from ..engines.audit import Audit
from ..evaluate.plan import Run
from .latency import report_figures, time_targets
from .noise_floor import noise_floor
from .progress import Progress
from .surrogate import surrogate_agreement
from .targets import Opened


def save_setting(
    store: Store,
    run: Run,
    targets: Sequence[Opened],
    *,
    about: Mapping[str, str],
    threads: int | None,
    progress: Progress,
) -> None:
    """Store what the report says beside the records: engines, audits, data, machine.

    Args:
        store: The run's results.
        run: What was measured.
        targets: Its engines.
        about: The report's ``title``, the ``command`` behind it and the name of the ``data``.
        threads: Threads of each engine.
        progress: Told which engine is audited.
    """
    audits = {}
    for opened in targets:
        progress.stage(f"Auditing {opened.target.name}")
        audits[opened.target.name] = _audited(opened).to_json()
    names = run.dataset.class_names
    setting = {
        "title": about["title"],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": about["command"],
        "targets": [
            opened.to_json(reference=index == 0, integer_coverage=audits[opened.target.name]["integer_coverage"])
            for index, opened in enumerate(targets)
        ],
        "dataset": {
            "name": about["data"],
            "images": len(run.dataset),
            "classes": targets[0].target.engine.spec.classes,
            "manifest_sha256": run.dataset.manifest_sha256,
            "class_names": list(names) if names else None,
        },
        "audits": audits,
        "provenance": {
            **provenance(),
            "seed": run.plan.seed,
            "score access": {target.name: run.score_access(target) for target in run.targets},
            "preset": targets[0].target.pipeline.to_json(),
            "engines": {o.target.name: dict(o.target.engine.provenance()) for o in targets},
            "surrogate": surrogate_agreement(run.surrogate, targets, run.dataset),
            "self-test": {o.target.name: _self_test(o) for o in targets},
            "noise floor": noise_floor(targets, run.dataset, threads=threads),
        },
    }
    store.put_document("setting", setting)


def save_latency(
    store: Store, run: Run, targets: Sequence[Opened], *, budget_seconds: float, progress: Progress
) -> None:
    """Time the engines and store the figures; one that fails is a figure without a number, and the reason."""
    progress.stage("Timing the engines")
    timed = time_targets(targets, run.dataset, budget_seconds=budget_seconds, seed=run.plan.seed)
    store.put_document("latency", report_figures(timed))


def _self_test(opened: Opened) -> dict[str, object]:
    found = opened.selftest
    return {"failed": str(found)} if isinstance(found, EngineError) else found.to_json()


def _audited(opened: Opened) -> Audit:
    """Audit an engine; one that dies over it costs its proof, not the report of what was measured."""
    try:
        return opened.target.engine.audit()
    except EngineError as error:
        return Audit(backend=str(opened.target.identity["kind"]), layers=(), notes=(f"unprovable: {error}",))
