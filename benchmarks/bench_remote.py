"""Claim: a model behind a server answers at >= 70 % of ONNX Runtime's speed, asked no slower than by Triton's client.

A real Triton and a real MLServer (environments by tests/engines/servers/make.py) serve the file by ONNX Runtime on one
thread; the same file is run directly, on one thread too. One process takes the three ways in turns, in random order
within each round. Needs ROBUSTMQ_DATA and ROBUSTMQ_SERVERS, and a quiet machine: under load, client and server together
get more of it than a direct run gets, and the ratio to that comes out too kind.

    python benchmarks/bench_remote.py [--rounds 60] [--servers triton mlserver] [--schemes http v2+grpc] [--json FILE]
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import robustmq_trt
from robustmq_trt.core.files import sha256_file
from robustmq_trt.core.provenance import cpu
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "engines" / "servers"))
import launch  # noqa: E402  # lies beside the tests that share it

GOALS = {"direct": 0.70, "tritonclient": 1.0}
# A batch of MobileNetV2 is 200 MB as JSON, all that MLServer takes over HTTP; over gRPC requests stay below 4 MiB.
MODELS = {"triton": ("resnet20_cifar10_float", "mobilenet_v2_float"), "mlserver": ("resnet20_cifar10_float",)}
_RESAMPLES = 10_000


def timed(file: Path, server: str, scheme: str, batch: int, arguments: argparse.Namespace, folder: Path) -> dict:
    engine = OnnxRuntimeEngine.open(file, threads=1)
    spec = engine.spec
    output = engine._session.get_outputs()[0].name
    engine.close()
    package = folder / "package"
    package.mkdir(exist_ok=True)
    if not (package / "robustmq_trt").exists():
        (package / "robustmq_trt").symlink_to(Path(robustmq_trt.__file__).parent)
    python = launch.make.folder_of("clients") / "bin" / "python"
    signature = launch.signature(spec.input_name, spec.image_shape, output, spec.classes)
    # JSON and large images take so long that fewer rounds have to do.
    rounds = arguments.rounds if server == "triton" else max(5, arguments.rounds // 6)
    rounds = rounds if spec.height < 100 else max(5, rounds // 4)
    with launch.running(server, file, signature, folder / f"{server}-{file.stem}-{batch}", scheme=scheme) as url:
        command = [python, ROOT / "benchmarks" / "remote_contender.py", "--file", file, "--url", url]
        settings = ["--batch", batch, "--rounds", rounds, "--calls", 1 if batch > 1 else 20, "--seed", arguments.seed]
        answer = subprocess.run(
            [str(part) for part in [*command, *settings]],
            env={**os.environ, "PYTHONPATH": str(package)},
            capture_output=True,
            text=True,
            check=False,
        )
    if answer.returncode:
        sys.exit(answer.stderr)
    return json.loads(answer.stdout)


def median_ratio(ours: list[float], theirs: list[float], seed: int) -> dict:
    """Give the median over rounds of (their time / our time), our throughput in units of theirs, and its interval."""
    ratios = np.array(theirs) / np.array(ours)
    rng = np.random.default_rng(seed)
    medians = np.median(ratios[rng.integers(0, len(ratios), (_RESAMPLES, len(ratios)))], axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return {"value": float(np.median(ratios)), "low": float(low), "high": float(high), "n": len(ratios)}


def verdict(ratio: dict, goal: float) -> str:
    if ratio["low"] >= goal:
        return "reached"
    return "missed" if ratio["high"] < goal else "not distinguishable from the goal"


def row(file: Path, server: str, scheme: str, batch: int, arguments: argparse.Namespace, folder: Path) -> dict:
    found = timed(file, server, scheme, batch, arguments, folder)
    spans, busy = found.pop("spans_ns"), found.pop("cpu_ns")
    ratios = {}
    for name, goal in GOALS.items():
        ratio = median_ratio(spans["robustmq-trt"], spans[name], arguments.seed)
        ratios[f"against {name}"] = {**ratio, "goal": goal, "verdict": verdict(ratio, goal)}
    rates = {name: batch / (float(np.median(values)) / 1e9) for name, values in spans.items()}
    return {
        "model": file.stem,
        "model_sha256": sha256_file(file),
        "batch": batch,
        **found,
        **ratios,
        "images_per_second": rates,
        "client_cpu_ms_per_call": {name: float(np.median(values)) / 1e6 for name, values in busy.items()},
        "client_cpu against tritonclient": median_ratio(busy["robustmq-trt"], busy["tritonclient"], arguments.seed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--servers", nargs="+", default=["triton", "mlserver"])
    parser.add_argument("--schemes", nargs="+", default=["http", "v2+grpc"])
    parser.add_argument("--batches", nargs="+", type=int, default=[64])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    models, load = Path(os.environ["ROBUSTMQ_DATA"]) / "models", os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for server in arguments.servers:
            for model in MODELS[server]:
                for scheme, batch in itertools.product(arguments.schemes, arguments.batches):
                    rows.append(row(models / f"{model}.onnx", server, scheme, batch, arguments, Path(folder)))
                    print(json.dumps(rows[-1], indent=2), file=sys.stderr)
    document = {
        "claim": __doc__.splitlines()[0],
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "seed": arguments.seed,
        "threads": "1 each for server's and direct ONNX Runtime; client, server and direct share the cores",
        "cpu": cpu(),
        "load_before": load,
        "load_at_end": os.getloadavg()[0],
        "rows": rows,
    }
    text = json.dumps(document, indent=2) + "\n"
    if arguments.json:
        arguments.json.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
