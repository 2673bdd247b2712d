"""Claim: the latency harness adds less than 1 % to the median of a bare loop around ONNX Runtime.

ResNet20 on CIFAR-10 images in uint8, batch 1, one thread: at a few tenths of a millisecond the fastest real engine
here, so the harness weighs most. Both are timed in turns; needs ROBUSTMQ_DATA.

    python benchmarks/bench_harness.py [--rounds 200] [--queries 100]
"""

import argparse
import datetime
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from robustmq_trt.core.errors import RobustMQError
from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.engines.onnxruntime import OnnxRuntimeEngine
from robustmq_trt.evaluate.spread import ratio_over_rounds
from robustmq_trt.evaluate.stopwatch import Budget, Work, time_rounds

BOUND = 1.01


class _Noise:
    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._batches = iter([{"input": rng.normal(size=(1, 3, 32, 32)).astype(np.float32)} for _ in range(8)])

    def get_next(self):
        return next(self._batches, None)


def int8_model(folder: Path) -> Path:
    path = folder / "r20_int8.onnx"
    source = Path(os.environ["ROBUSTMQ_DATA"]) / "models" / "resnet20_cifar10_float.onnx"
    quantize_static(
        shutil.copy(source, folder),  # it writes files beside the model it reads
        path,
        _Noise(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return path


def bare_session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def bare_median(session: ort.InferenceSession, image: np.ndarray, queries: int) -> float:
    spans = []
    for _ in range(queries):
        start = time.perf_counter_ns()
        session.run(None, {"input": image})
        spans.append(time.perf_counter_ns() - start)
    return float(np.median(spans))


def harness_median(engine: OnnxRuntimeEngine, image: np.ndarray, queries: int) -> float:
    budget = Budget(rounds=1, warm_up_runs=0, warm_up_seconds=0)
    work = Work(call=lambda: engine.infer(image), images=1, seconds=0, min_calls=queries)
    (rounds,) = time_rounds([work], budget)
    if isinstance(rounds, RobustMQError):
        raise rounds
    return float(np.median(rounds[0]))


def verdict(low: float, high: float) -> str:
    if high < BOUND:
        return "within 1 %"
    return "above 1 %" if low > BOUND else "not distinguishable: measure longer on a quieter machine"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--queries", type=int, default=100)
    arguments = parser.parse_args()
    image = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = int8_model(Path(folder))
        engine, session = OnnxRuntimeEngine.open(path, threads=1), bare_session(path)
        assert np.array_equal(engine.infer(image), session.run(None, {"input": image})[0])
        bare, harness = [], []
        bare_median(session, image, arguments.queries), harness_median(engine, image, arguments.queries)  # warm-up
        for _ in range(arguments.rounds):
            bare.append(bare_median(session, image, arguments.queries))
            harness.append(harness_median(engine, image, arguments.queries))
    ratio = ratio_over_rounds(harness, bare, seed=0)
    found = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "claim": "harness median / bare loop median",
        "value": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "rounds": ratio.n,
        "queries_per_round": arguments.queries,
        "bare_ms": float(np.median(bare)) / 1e6,
        "harness_ms": float(np.median(harness)) / 1e6,
        "verdict": verdict(ratio.low, ratio.high),
        "provenance": provenance(),
    }
    print(json.dumps(found, indent=2))
    results = Path(__file__).parent / "results"
    write_json(results / f"harness_{found['date']}_onnxruntime-{ort.__version__}.json", found)


if __name__ == "__main__":
    main()
