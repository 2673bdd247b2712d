"""One calibration run for bench_calibration.py, in a process of its own so that its peak memory is its own."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SHAPE = (3, 224, 224)
CONTENDERS = {
    "ours minmax": ["minmax"],
    "ours entropy": ["entropy"],
    "ours percentile": ["percentile"],
    "ours all four": ["minmax", "percentile", "entropy", "mse"],
    "onnxruntime minmax": "MinMax",
    "onnxruntime entropy": "Entropy",
    "onnxruntime percentile": "Percentile",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contender", choices=sorted(CONTENDERS), required=True)
    parser.add_argument("--model", type=Path, required=True, help="float ONNX file")
    parser.add_argument("--tensors", type=Path, required=True, help="file of preprocessed float32 images")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--limit-gb", type=float, required=True, help="address space for ONNX Runtime's calibrators")
    parser.add_argument("--percentile", type=float, default=99.999)
    run_contender(parser.parse_args())


def stream(tensors: Path, count: int) -> Iterator[np.ndarray]:
    """One image at a time by plain reads, from the first again where the file has fewer.

    A memory map would count the file's pages as the process's memory.
    """
    size = int(np.prod(SHAPE))
    stored = tensors.stat().st_size // (4 * size)
    with tensors.open("rb") as file:
        for index in range(count):
            if index % stored == 0:
                file.seek(0)
            yield np.fromfile(file, np.float32, size).reshape(1, *SHAPE)


def run_contender(options: argparse.Namespace) -> None:
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    from robustmq_trt.calib.calibrate import calibrate

    count = options.images
    method = CONTENDERS[options.contender]
    model = options.model
    before = peak_mb()
    start, start_cpu = time.perf_counter_ns(), time.process_time()
    if isinstance(method, list):
        names = [f"percentile:{options.percentile}" if name == "percentile" else name for name in method]
        ranges = calibrate(onnx.load(model), lambda: stream(options.tensors, count), methods=names)
    else:
        resource.setrlimit(resource.RLIMIT_AS, (int(options.limit_gb * 2**30),) * 2)
        images = stream(options.tensors, count)
        name = onnx.load(model, load_external_data=False).graph.input[0].name
        reader = type("Reader", (), {"get_next": lambda _: next(({name: image} for image in images), None)})()
        extra = {"percentile": options.percentile} if method == "Percentile" else {}
        types = sorted({*QDQRegistry, *QLinearOpsRegistry})  # as quantize_static chooses them
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            chosen = getattr(CalibrationMethod, method)
            augmented = str(Path(folder) / "augmented.onnx")
            calibrator = create_calibrator(model, types, augmented, chosen, extra_options=extra)
            calibrator.collect_data(reader)
            data = calibrator.compute_data()
        ranges = {method: {name: tuple(float(np.ravel(end)[0]) for end in td.range_value) for name, td in data.items()}}
    seconds = (time.perf_counter_ns() - start) / 1e9
    cpu_seconds = time.process_time() - start_cpu  # steadier than the clock where others use the machine too
    peak = peak_mb()
    memory = {"peak_mb": peak, "growth_mb": peak - before}
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, **memory, "ranges": ranges}))


def peak_mb() -> float:
    # VmHWM belongs to this program; ru_maxrss may still hold the parent's from before exec
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
    main()
