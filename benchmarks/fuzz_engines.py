"""Two hundred damaged files and replies: is each refused by a sentence, and does the program stay alive?

    python benchmarks/fuzz_engines.py --save
    ROBUSTMQ_DATA=/data python benchmarks/fuzz_engines.py          # .tflite files come from there

Each case is a good file, or a good answer of a server, that a seeded generator truncates, flips bits of, blanks,
repeats or replaces. Files go the way the command line takes them: ONNX through the reader of this process, then every
file into a child process that opens it and scores two images. A case ends in one of these:

``refused``  a sentence said why not, and nothing died;
``opened``   the damage hit a weight or a name: a valid file, another network, scores of the right shape;
``died``     the child crashed or was silent until its deadline; this process got an error and went on.

A case that takes this process with it, or raises anything but the errors made for users, ends the benchmark. ``--save``
writes the counts, each file's outcome and the messages to ``benchmarks/results/fuzz_engines_DATE.json``.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustmq_trt import assets
from robustmq_trt.core.errors import EngineError, RobustMQError
from robustmq_trt.core.provenance import provenance
from robustmq_trt.engines.catalog import doctor, open_engine
from robustmq_trt.engines.child import ChildEngine, Isolation
from robustmq_trt.export.onnx_file import read_model

CASES = {"onnx": 60, "ir": 50, "tflite": 40, "plan": 10, "reply": 40}
DEADLINE = 20.0
TFLITE = "models/mobilenet_v1_0.25_128_quant.tflite"
LIMITS = Isolation(call_seconds=DEADLINE, open_seconds=DEADLINE)
ROOT = Path(__file__).resolve().parents[1]
Generator = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one case."""

    kind: str
    number: int
    damage: str
    outcome: str
    message: str
    seconds: float


def damaged(content: bytes, rng: Generator) -> tuple[str, bytes]:
    """Damage some bytes in one of six ways; gives the way's name and the bytes."""
    size = len(content)
    place, run = int(rng.integers(size)), int(rng.integers(1, max(size // 8, 2)))
    ways: dict[str, Callable[[], bytes]] = {
        "truncated": lambda: content[:place],
        "one bit flipped": lambda: _flipped(content, rng, 1),
        "64 bits flipped": lambda: _flipped(content, rng, 64),
        "blanked": lambda: content[:place] + bytes(len(content[place : place + run])) + content[place + run :],
        "repeated": lambda: content[: place + run] + content[place:],
        "noise": lambda: rng.bytes(min(size, 4096)),
    }
    name = str(rng.choice(list(ways)))
    return name, ways[name]()


def _flipped(content: bytes, rng: Generator, bits: int) -> bytes:
    """Flip bits, half of them in the first tenth of the file, where structure is denser than weights."""
    changed = np.frombuffer(content, np.uint8).copy()
    for bit in range(bits):
        place = int(rng.integers(len(changed) if bit % 2 else max(len(changed) // 10, 1)))
        changed[place] ^= 1 << int(rng.integers(8))
    return changed.tobytes()


def run(kind: str, number: int, goods: dict[str, bytes], folder: Path, seed: int) -> Outcome:
    """Damage one file of a kind and take it the way of the command line."""
    rng = np.random.default_rng([seed, number, *kind.encode()])
    spoilt = str(rng.choice(sorted(goods)))
    damage, content = damaged(goods[spoilt], rng)
    for name, good in goods.items():
        (folder / name).write_bytes(content if name == spoilt else good)
    target = folder / min(goods, key=lambda name: name.endswith(".bin"))
    started = time.monotonic()
    try:
        outcome, message = "opened", _used(kind, target)
    except EngineError as error:
        outcome, message = "died" if " died " in str(error) or "gave no answer" in str(error) else "refused", str(error)
    except RobustMQError as error:
        outcome, message = "refused", f"{type(error).__name__}: {error}"
    return Outcome(
        kind=kind,
        number=number,
        damage=f"{spoilt} {damage}",
        outcome=outcome,
        message=message.replace(str(folder), "."),
        seconds=time.monotonic() - started,
    )


def _used(kind: str, target: Path) -> str:
    """Open a file in a child and score two images; gives what was seen."""
    if kind == "onnx":
        read_model(target)
    trust = [f"sha256:{_sha256(target)}"] if kind == "plan" else []
    engine = open_engine(target, threads=1, isolate=LIMITS, trust=trust)
    try:
        return _scored(engine)
    finally:
        engine.close()


def _scored(engine: Any) -> str:
    assert isinstance(engine, ChildEngine) or engine.provenance()["backend"]
    spec = engine.spec
    batch = np.zeros((spec.fixed_batch or 2, *spec.image_shape), spec.dtype)
    scores = engine.infer(batch)
    assert scores.shape == (len(batch), spec.classes)
    return f"scores {scores.shape}, finite: {bool(np.isfinite(scores).all())}"


def _sha256(path: Path) -> str:
    from robustmq_trt.core.files import sha256_file

    return sha256_file(path)


def replies(count: int, seed: int) -> Iterator[Outcome]:
    """Spoil one answer of a server on the loopback, its metadata included, for each case."""
    server = _server()
    rng = np.random.default_rng([seed, 99])
    weights = rng.normal(size=(3 * 8 * 8, 5)).astype(np.float32)
    for number in range(count):
        turn, asked, seen = int(rng.integers(8)), [0], [""]

        def bend(
            method: str,
            path: str,
            status: int,
            headers: dict[str, str],
            body: bytes,
            *,
            turn: int = turn,
            asked: list[int] = asked,
            seen: list[str] = seen,
        ) -> tuple[int, dict[str, str], bytes]:
            asked[0] += 1
            if asked[0] - 1 != turn:
                return status, headers, body
            way, content = damaged(body, rng)
            seen[0] = f"{method} {path} {way}"
            return status, headers, content

        service = server.Service(score=lambda x: x.reshape(len(x), -1) @ weights, shape=[-1, 3, 8, 8], classes=5)
        service.bend = bend
        started = time.monotonic()
        with server.served(service) as url:
            try:
                engine = open_engine(url if url.startswith("v2:") else f"v2:{url}")
                try:
                    outcome, message = "opened", _scored(engine)
                finally:
                    engine.close()
            except RobustMQError as error:
                outcome, message = "refused", re.sub(r"127\.0\.0\.1:\d+", "HOST", f"{type(error).__name__}: {error}")
        yield Outcome(
            kind="reply",
            number=number,
            damage=seen[0] or "none came that far",
            outcome=outcome,
            message=message,
            seconds=time.monotonic() - started,
        )


def _server() -> Any:
    spec = importlib.util.spec_from_file_location("v2_server", ROOT / "tests" / "engines" / "v2_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["v2_server"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def good_files(kind: str, folder: Path) -> dict[str, bytes] | None:
    """Give the undamaged files of a kind, or None where they can't be had here."""
    if kind == "onnx":
        return {"model.onnx": assets.model_path().read_bytes()}
    if kind == "plan":
        return {"model.plan": b"ftrt" + np.random.default_rng(0).bytes(4096)}
    if kind == "tflite":
        data = os.environ.get("ROBUSTMQ_DATA")
        return {"model.tflite": (Path(data) / TFLITE).read_bytes()} if data else None
    import openvino

    openvino.save_model(openvino.Core().read_model(assets.model_path()), folder / "good.xml", compress_to_fp16=False)
    return {"model.xml": (folder / "good.xml").read_bytes(), "model.bin": (folder / "good.bin").read_bytes()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="share of the cases to run")
    parser.add_argument("--kind", choices=CASES, action="append")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    counts = {kind: max(1, round(CASES[kind] * options.share)) for kind in options.kind or CASES}
    found = list(_all(counts, options.seed))
    for kind in counts:
        tally = Counter(outcome.outcome for outcome in found if outcome.kind == kind)
        slowest = max((outcome.seconds for outcome in found if outcome.kind == kind), default=0.0)
        print(f"{kind:7s} {dict(tally)}  slowest {slowest:.1f} s")
    if options.save:
        print("written:", save(found, options.seed))


def _all(counts: dict[str, int], seed: int) -> Iterator[Outcome]:
    for kind, count in counts.items():
        if kind == "reply":
            yield from replies(count, seed)
            continue
        with tempfile.TemporaryDirectory() as folder:
            goods = good_files(kind, Path(folder))
            if goods is None:
                print(f"{kind}: skipped, ROBUSTMQ_DATA is not set")
                continue
            for number in range(count):
                yield run(kind, number, goods, Path(folder), seed)


def save(found: list[Outcome], seed: int) -> Path:
    """Write the outcomes beside the other results."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = ROOT / "benchmarks" / "results" / f"fuzz_engines_{date}.json"
    kinds = sorted({outcome.kind for outcome in found})
    document = {
        "date": date,
        "n": len(found),
        "seed": seed,
        "deadline_seconds": DEADLINE,
        "parent_survived": True,
        "outcomes": {kind: dict(Counter(o.outcome for o in found if o.kind == kind)) for kind in kinds},
        "slowest_seconds": {kind: round(max(o.seconds for o in found if o.kind == kind), 1) for kind in kinds},
        "backends": {status.name: status.version or status.reason for status in doctor()},
        "provenance": provenance(),
        "cases": [{**asdict(outcome), "seconds": round(outcome.seconds, 2)} for outcome in found],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


if __name__ == "__main__":
    main()
