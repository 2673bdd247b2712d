"""`plan`: builds a TensorRT plan from an ONNX file, in a process of its own, and says what it runs in integers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx

from ..core.artifact import Card, read_card, write_card
from ..core.errors import InputError
from ..core.files import sha256_file, staging, write_bytes
from ..core.provenance import package_versions
from ..engines.audit import Audit
from ..engines.catalog import open_engine
from ..engines.child import Isolation
from ..engines.child_process import ChildProcess
from ..engines.onnxruntime_signature import output_kind
from ..engines.tensorrt_build import CACHE_FILE, PLAN_FILE, BuildSettings
from ..export.lint import lint
from ..export.onnx_file import read_model, serialize
from ..export.weight_forms import WEIGHT_FORMS, store_weights
from .audit import audit_table
from .options import Subparsers, add_common, positive, print_json, seconds
from .progress import Progress

_BUILD_SECONDS = 1800.0
_TIMED_RUNS = 200
_FOLDER = "."  # the child's own


def add_parser(commands: Subparsers) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "plan", help="build a TensorRT plan from an ONNX file (needs a GPU)", description=__doc__
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="float, or QDQ of profile trt-s8")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.plan")
    parser.add_argument(
        "--batches", type=_batches, default=(1, 8, 32), metavar="MIN,BEST,MAX", help="batches it takes (default 1,8,32)"
    )
    parser.add_argument(
        "--fp16", action="store_true", help="half precision for layers without Q/DQ (TensorRT up to 10)"
    )
    parser.add_argument("--tf32", action="store_true", help="10-bit factors in float layers (default: full float32)")
    parser.add_argument("--workspace", type=positive, default=4096, metavar="MIB", help="scratch memory (default 4096)")
    parser.add_argument("--level", type=int, default=3, help="builder optimization level 0..5 (default 3)")
    parser.add_argument("--timing-cache", type=Path, metavar="FILE", help="read and renew the kernels' timings there")
    parser.add_argument(
        "--weights-as", choices=WEIGHT_FORMS, help="store weights as int8, or as floats behind Q/DQ as 8.x wants them"
    )
    parser.add_argument(
        "--deadline", type=seconds, default=_BUILD_SECONDS, help="seconds a build may take (default 1800)"
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand."""
    settings = BuildSettings(
        batches=options.batches,
        fp16=options.fp16,
        tf32=options.tf32,
        workspace_mib=options.workspace,
        level=options.level,
    )
    progress = Progress(quiet=options.quiet)
    model = read_model(options.model)
    notes = [f"{finding.rule}: {finding.message}" for finding in lint(model) if finding.severity == "error"]
    if notes:
        progress.stage(f"{len(notes)} of TensorRT's rules are broken, so it may refuse. First: {notes[0]}")
    if options.weights_as is not None:
        model = store_weights(model, options.weights_as)
    cache = options.timing_cache
    files = {"model.onnx": serialize(model), CACHE_FILE: _content(cache)}
    progress.stage(f"Building {options.output.name} from {options.model.name}")
    made, plan, renewed = _build(files, settings, options.deadline, progress)
    if cache is not None:
        write_bytes(cache, renewed)
    with staging(options.output.parent) as folder:
        path = folder / options.output.name
        path.write_bytes(plan)
        card = _card(path, made, model, options.model)
        write_card(path, card)
        audit = _audited(path, card)
        write_card(path, replace(card, audit=_summary(audit)))
    progress.close()
    document = {
        "path": str(options.output),
        "sha256": card.sha256,
        "size_bytes": card.size_bytes,
        "built": dict(made),
        "audit": _summary(audit),
        "notes": notes,
    }
    if options.json:
        print_json(document)
    else:
        print(_text(document, audit))
    return 0


def _build(
    files: Mapping[str, bytes], settings: BuildSettings, deadline: float, progress: Progress
) -> tuple[dict[str, Any], bytes, bytes]:
    """Build and time in a child; gives what was built, the plan and the renewed timing cache."""
    child = ChildProcess("the TensorRT builder", files=files)

    def called(function: str, **arguments: Any) -> Any:
        task = {"function": f"robustmq_trt.engines.{function}", "arguments": {"folder": _FOLDER, **arguments}}
        return child.call("run", task, seconds=deadline, progress=_shown(progress))

    try:
        made = dict(called("tensorrt_build:build", settings=asdict(settings)))
        made["kernel_ms"] = called("tensorrt_timing:measure", runs=_TIMED_RUNS, graph=False)
        return made, (child.folder / PLAN_FILE).read_bytes(), (child.folder / CACHE_FILE).read_bytes()
    finally:
        child.kill()


def _shown(progress: Progress) -> Any:
    return lambda told: progress(int(told["step"]), int(told["steps"]) or 1, str(told["phase"])[:60])


def _card(path: Path, made: Mapping[str, Any], model: onnx.ModelProto, source: Path) -> Card:
    parent = read_card(source)
    return Card(
        file=path.name,
        sha256=sha256_file(path),
        size_bytes=path.stat().st_size,
        kind="plan",
        precision="unknown" if parent is None else parent.precision,
        parents={"model": sha256_file(source)},
        recipe={**made, "source": source.name, "output_kind": output_kind(model.graph)},
        preset={} if parent is None else parent.preset,
        tools=package_versions(),
    )


def _audited(path: Path, card: Card) -> Audit:
    engine = open_engine(path, isolate=Isolation(), trust=[f"sha256:{card.sha256}"])
    try:
        return engine.audit()
    finally:
        engine.close()


def _summary(audit: Audit) -> dict[str, Any]:
    return {key: value for key, value in audit.to_json().items() if key not in ("layers", "float_operators")}


def _text(document: Mapping[str, Any], audit: Audit) -> str:
    times = ", ".join(
        f"batch {batch} {figures['p50_ms']:.3g}" for batch, figures in document["built"]["kernel_ms"].items()
    )
    return "\n\n".join(
        [
            audit_table(audit),
            *(f"note: {note}" for note in document["notes"]),
            f"{document['path']}  {document['size_bytes']:,} bytes; kernels alone, median ms: {times}",
            f"open it with: --trust-engine sha256:{document['sha256']}",
            json.dumps(document["built"]["settings"]),
        ]
    )


def _content(path: Path | None) -> bytes:
    if path is None or not path.exists():
        return b""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error


def _batches(text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"expected three whole numbers MIN,BEST,MAX, got {text!r}")
    smallest, best, largest = (int(part) for part in parts)
    return smallest, best, largest
