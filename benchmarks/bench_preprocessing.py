"""Preprocessing: the preset `torchvision-fast` against torchvision's own path through Pillow, one thread.

Claims: from the bytes of a JPEG to the normalised tensor at least 1.7 times the images a second, no pixel more than two
levels away; and resize with crop alone, as an attack on the stored image repeats it, at least 3 times.

    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    python benchmarks/bench_preprocessing.py SHARED/data/imagenet600
    python benchmarks/bench_preprocessing.py SHARED/data/imagenet600 --images 60 --rounds 3 --no-save

The contender is what torchvision 0.25's reference transforms call for a Pillow image, written out because torchvision
itself does not import beside torch's CPU wheel: ``Image.resize`` to a short side of 256 (``F_pil.resize``), ``crop``
(``F.center_crop``), ``F.to_tensor``, ``F.normalize`` (github.com/pytorch/vision, torchvision/transforms/functional.py).

Inside the clock: all of that from bytes in memory, each image once; for the resize, from decoded pixels to pixels of
224 x 224, each image ten times in a row, as the queries of an attack come. Outside: reading files, imports, one warm-up
image. Both take each image in turns, so that what disturbs one disturbs the other; a figure is the mean over the images
of a round, a ratio that of the medians over rounds, with the least and the greatest of the rounds. CPU time is the
process's. Correctness is asserted on every image before anything is timed.
"""

from __future__ import annotations

import argparse
import datetime
import io
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.geometry import lay_out
from robustmq_trt.inputs.resize import resize
from robustmq_trt.inputs.sources import open_dataset

FAST = PRESETS["torchvision-fast"]
MEAN = torch.tensor(FAST.mean).view(3, 1, 1)
STD = torch.tensor(FAST.std).view(3, 1, 1)
MAX_LEVELS = 2
QUERIES = 10
GOALS = {"preset": 1.7, "resize": 3.0}

Task = Callable[[Any], Any]


def main() -> None:
    options = parse()
    if {os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")} != {"1"}:
        raise SystemExit("Set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1: they are read when NumPy loads.")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    contents = read(options)
    correctness = check(contents)
    print(f"largest difference {correctness['largest']} levels, mean {correctness['mean']:.4f}, n = {len(contents)}")
    pixels = [FAST.decode(content) for content in contents]
    found = {
        "preset": race(contents, fast_tensor, torchvision_tensor, options.rounds, repeats=1),
        "resize": race(pixels, fast_resize, torchvision_resize, options.rounds, repeats=QUERIES),
    }
    for name, entry in found.items():
        print(line(name, entry))
    if not options.no_save:
        print("written:", save(options, correctness, found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Preprocessing: torchvision-fast against torchvision's Pillow path.")
    parser.add_argument("data", type=Path, help="folder of labelled JPEGs")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--no-save", action="store_true")
    return parser.parse_args()


def read(options: argparse.Namespace) -> list[bytes]:
    contents = [sample.read() for sample in open_dataset(options.data, unlabelled=True).samples[: options.images]]
    assert all(isinstance(content, bytes) for content in contents)
    return contents


def fast_tensor(content: bytes) -> np.ndarray:
    return FAST.tensor(FAST.load(content)[None])


def torchvision_tensor(content: bytes) -> torch.Tensor:
    image = torchvision_crop(Image.open(io.BytesIO(content)).convert("RGB"))
    pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(image.size[1], image.size[0], 3)
    tensor = pixels.permute((2, 0, 1)).contiguous().to(dtype=torch.float32).div(255)
    return tensor.clone().sub_(MEAN).div_(STD)


def fast_resize(image: np.ndarray) -> np.ndarray:
    layout = lay_out(image.shape[:2], FAST.size, geometry=FAST.geometry, crop_fraction=FAST.crop_fraction)
    window = layout.window(FAST.size)
    return resize(image, height=layout.height, width=layout.width, resizer=FAST.resize, window=window)


def torchvision_resize(image: np.ndarray) -> np.ndarray:
    return np.asarray(torchvision_crop(Image.fromarray(image)))


def torchvision_crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    size = (256, int(256 * height / width)) if width <= height else (int(256 * width / height), 256)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - 224) / 2.0), round((size[1] - 224) / 2.0)
    return image.crop((left, top, left + 224, top + 224))


def check(contents: list[bytes]) -> dict[str, float]:
    """Compare pixels and tensors of every image."""
    largest, total = 0, 0.0
    for content in contents:
        theirs = np.asarray(torchvision_crop(Image.open(io.BytesIO(content)).convert("RGB")))
        difference = np.abs(FAST.load(content).astype(int) - theirs)
        largest, total = max(largest, int(difference.max())), total + float(difference.mean())
        assert difference.max() <= MAX_LEVELS, difference.max()
        bound = (difference.max() / 255) / STD.min() + 1e-5
        assert (torch.from_numpy(fast_tensor(content)[0]) - torchvision_tensor(content)).abs().max() <= bound
    return {"largest": largest, "mean": total / len(contents), "allowed": MAX_LEVELS, "n": len(contents)}


def race(items: list[Any], ours: Task, theirs: Task, rounds: int, *, repeats: int) -> dict[str, Any]:
    """Time both in turns; milliseconds a call, in wall-clock and in CPU time."""
    ours(items[0]), theirs(items[0])
    spent: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for name, (wall, cpu) in one_round(items, {"ours": ours, "theirs": theirs}, repeats).items():
            calls = len(items) * repeats
            spent[name].append((wall / calls / 1e6, cpu / calls / 1e6))
    return {"wall": summary(spent, 0), "cpu": summary(spent, 1), "n": len(items), "rounds": rounds, "repeats": repeats}


def one_round(items: list[Any], tasks: dict[str, Task], repeats: int) -> dict[str, tuple[int, int]]:
    """Give nanoseconds of wall clock and of CPU over all calls."""
    total = dict.fromkeys(tasks, (0, 0))
    for item in items:
        for name, task in tasks.items():
            wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            for _ in range(repeats):
                task(item)
            spent = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
            total[name] = total[name][0] + spent[0], total[name][1] + spent[1]
    return total


def summary(spent: dict[str, list[tuple[float, float]]], clock: int) -> dict[str, Any]:
    ours, theirs = ([times[clock] for times in spent[name]] for name in ("ours", "theirs"))
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return {
        "ours_ms": statistics.median(ours),
        "theirs_ms": statistics.median(theirs),
        "times": statistics.median(theirs) / statistics.median(ours),
        "times_least": ratios[0],
        "times_greatest": ratios[-1],
    }


def line(name: str, entry: dict[str, Any]) -> str:
    parts = [
        f"{clock}: ours {one['ours_ms']:.3f} ms, theirs {one['theirs_ms']:.3f} ms, {one['times']:.2f} times "
        f"[{one['times_least']:.2f}, {one['times_greatest']:.2f}]"
        for clock, one in ((clock, entry[clock]) for clock in ("wall", "cpu"))
    ]
    return f"{name:8}goal {GOALS[name]:g}; " + "; ".join(parts)


def save(options: argparse.Namespace, correctness: dict[str, float], found: dict[str, Any]) -> Path:
    made = provenance()
    packages = {name: made["packages"][name] for name in ("pillow", "torch")}
    versions = "_".join(f"{name}-{version}" for name, version in packages.items())
    path = options.results / f"preprocessing_{options.date}_{versions}.json"
    goals = {name: {"times": goal, "met": found[name]["wall"]["times"] >= goal} for name, goal in GOALS.items()}
    write_json(
        path,
        {
            "claim": "preset torchvision-fast against torchvision's Pillow path",
            "date": options.date,
            "preset": FAST.to_json(),
            "correctness": correctness,
            "found": found,
            "goals": goals,
            "load": os.getloadavg(),
            "provenance": made,
        },
    )
    return path


if __name__ == "__main__":
    main()
