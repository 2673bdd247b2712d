"""Times three ways to the scores of one batch in turns; run by bench_remote.py in the environment of Triton's client.

Prints JSON: versions, the largest difference to ONNX Runtime's scores, and nanoseconds of wall and of
own processor time per round by contender.
"""

import argparse
import json
import sys
import time
from importlib.metadata import version

import numpy as np
import onnxruntime as ort

from robustmq_trt.engines.remote import RemoteEngine


def direct(file: str):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (entry,), (exit_,) = session.get_inputs(), session.get_outputs()
    return entry, exit_, lambda batch: session.run(None, {entry.name: batch})[0]


def over_grpc(url: str, entry, exit_):
    """Give the call as Triton's documentation writes it, on one kept channel."""
    import tritonclient.grpc as triton

    origin, _, model = url.removeprefix("v2+grpc://").rpartition("/")
    client = triton.InferenceServerClient(origin)
    wanted = triton.InferRequestedOutput(exit_.name)

    def call(batch: np.ndarray) -> np.ndarray:
        tensor = triton.InferInput(entry.name, list(batch.shape), "FP32")
        tensor.set_data_from_numpy(batch)
        return client.infer(model, [tensor], outputs=[wanted]).as_numpy(exit_.name)

    return call


def over_http(url: str, entry, exit_, *, binary: bool):
    """Give the call as Triton's documentation writes it: a new input object per request, on one kept connection."""
    import tritonclient.http as triton

    origin, _, model = url.removeprefix("http://").rpartition("/")
    client = triton.InferenceServerClient(origin, network_timeout=300.0, connection_timeout=300.0)
    wanted = triton.InferRequestedOutput(exit_.name, binary_data=binary)

    def call(batch: np.ndarray) -> np.ndarray:
        tensor = triton.InferInput(entry.name, list(batch.shape), "FP32")
        tensor.set_data_from_numpy(batch, binary_data=binary)
        return client.infer(model, [tensor], outputs=[wanted]).as_numpy(exit_.name)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    entry, exit_, local = direct(options.file)
    engine = RemoteEngine.open(options.url, watch_every=sys.maxsize)  # probes are timed by nobody's client
    if options.url.startswith("v2+grpc"):
        theirs = over_grpc(options.url, entry, exit_)
    else:
        theirs = over_http(options.url, entry, exit_, binary="binary" in engine.provenance()["transport"])
    contenders = {
        "direct": local,
        "robustmq-trt": engine.infer,
        "tritonclient": theirs,
    }
    levels = rng.integers(0, 256, (options.batch, *entry.shape[1:]))  # what images are made of
    batch = (levels / np.float32(127.5) - 1).astype(np.float32)
    expected = local(batch)
    differences = {name: float(np.abs(call(batch) - expected).max()) for name, call in contenders.items()}
    assert max(differences.values()) <= 1e-4 * float(np.abs(expected).max()), differences
    spans: dict[str, list[float]] = {name: [] for name in contenders}
    busy: dict[str, list[float]] = {name: [] for name in contenders}  # this process's own processor time
    for number in range(options.rounds + 2):
        for name in rng.permutation(list(contenders)):
            call = contenders[name]
            began, worked = time.perf_counter_ns(), time.process_time_ns()
            for _ in range(options.calls):
                call(batch)
            if number >= 2:  # two rounds of warm-up
                spans[name].append((time.perf_counter_ns() - began) / options.calls)
                busy[name].append((time.process_time_ns() - worked) / options.calls)
    said = engine.provenance()
    print(
        json.dumps(
            {
                "server": f"{said['providers'][0]} {said['version']}",
                "transport": said["transport"],
                "max_difference": differences,
                "spans_ns": spans,
                "cpu_ns": busy,
                "versions": {name: version(name) for name in ("tritonclient", "numpy", "onnxruntime")},
            }
        )
    )
    engine.close()


if __name__ == "__main__":
    main()
