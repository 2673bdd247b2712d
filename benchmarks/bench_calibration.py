"""Calibration: our streaming pass against ONNX Runtime's calibrators, in time, peak memory and ranges.

Goal: 10 times (MobileNetV2) and 4 times (ResNet18) as fast as the calibration inside
``onnxruntime.quantization.quantize_static`` (entropy and percentile); the records lie on both sides of either. Claim:
peak memory at most 1 GB and flat in the number of images, min-max ranges equal and percentile ranges within 2 %.

    ROBUSTMQ_DATA=... python benchmarks/bench_calibration.py                    # for the record: 64 and 512 images
    ROBUSTMQ_DATA=... python benchmarks/bench_calibration.py --images 8 --repeats 1 --check 4 --no-save
    ROBUSTMQ_DATA=... python benchmarks/bench_calibration.py --model resnet18 --methods entropy percentile --images 64

``--alone 5000`` adds rows that only ours runs, for the memory; the data has 600 images, which come again in turn.
The ResNet18 has random weights (see resnet18.py; it needs torch) and sees the same images.
Inside the clock: reading the model, opening the session, all images through it, choosing the ranges. Outside: decoding
(Pillow, short side 256, centre crop 224, x / 127.5 - 1), done once into a file that both contenders read one image at
a time, imports, and the writing of the quantized model. Each run is a process of its own; peak memory is the kernel's
high-water mark of that process, "growth" what it adds to the mark after imports. The contenders take turns.

ONNX Runtime keeps every activation of every image, 62 MB an image here. Its process gets a limit on its address space
(80 % of the free memory unless ``--limit-gb`` says otherwise); where it does not fit, the row says so and half the
images are tried, until they do.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from calibration_contender import CONTENDERS

ALONE = "ours all four"
METHODS = tuple(dict.fromkeys(name.partition(" ")[2] for name in CONTENDERS))


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        options.path = model_file(options, Path(folder))
        tensors = Path(folder) / "images.f32"
        decode(options.data, max([*options.images, options.check]), tensors)
        correctness = check(options, tensors)
        print(json.dumps(correctness, indent=2), flush=True)
        rows = [row for count in options.images for row in race(options, tensors, count)]
        rows += [alone(options, tensors, count) for count in options.alone]
    print(table(rows))
    if not options.no_save:
        print("written:", save(options, correctness, rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Calibration: ours against ONNX Runtime's.")
    data = os.environ.get("ROBUSTMQ_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), required=data is None)
    parser.add_argument("--model", choices=("mobilenet_v2", "resnet18"), default="mobilenet_v2")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="which to race")
    parser.add_argument("--images", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--alone", type=int, nargs="*", default=[], help="image counts that only ours runs, for memory")
    parser.add_argument("--check", type=int, default=64, help="images for the comparison of ranges")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--limit-gb", type=float, default=0.8 * free_gb(), help="address space of ONNX Runtime's process"
    )
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--no-save", action="store_true")
    return parser.parse_args()


def free_gb() -> float:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) / 2**20


# The model and the images


def model_file(options: argparse.Namespace, folder: Path) -> Path:
    if options.model == "mobilenet_v2":
        found: Path = options.data / "models" / "mobilenet_v2_float.onnx"
        return found
    import onnx
    from resnet18 import exported

    path = folder / "resnet18.onnx"
    onnx.save(exported(), path)
    return path


def decode(data: Path, count: int, target: Path) -> None:
    from PIL import Image

    folder = data / "data" / "imagenet600"
    names = [row[0] for row in csv.reader((folder / "labels.csv").read_text().splitlines())][1:]
    chosen = np.random.default_rng(0).permutation(names)[:count]
    if len(chosen) < count:
        raise SystemExit(f"{count} images asked for, {folder} has {len(names)}.")
    with target.open("wb") as file:
        for name in chosen:
            with Image.open(folder / name) as image:
                file.write(crop(image.convert("RGB")).tobytes())


def crop(image: Any) -> np.ndarray:
    from PIL import Image

    scale = 256 / min(image.size)
    width, height = (max(256, round(side * scale)) for side in image.size)
    left, top = (width - 224) // 2, (height - 224) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32)
    return np.ascontiguousarray((pixels / 127.5 - 1).transpose(2, 0, 1), np.float32)


# The runs


def spawn(
    options: argparse.Namespace, tensors: Path, contender: str, count: int, percent: float = 99.999
) -> dict[str, Any] | str:
    """Run a contender; a string is the reason why it gave no result."""
    arguments = ["--model", options.path, "--images", count, "--limit-gb", options.limit_gb, "--tensors", tensors]
    arguments += ["--contender", contender, "--percentile", percent]
    command = [sys.executable, str(Path(__file__).with_name("calibration_contender.py")), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return answer
    memory = re.search(r"MemoryError|bad_alloc|Failed to allocate|Unable to allocate", result.stderr)
    if memory or result.returncode in (-9, -6):
        return f"out of memory at a limit of {options.limit_gb:.1f} GB"
    raise SystemExit(f"{contender} failed with {result.returncode}:\n{result.stderr[-3000:]}")


# Correctness before time


def check(options: argparse.Namespace, tensors: Path) -> dict[str, Any]:
    import onnx

    from robustmq_trt.calib.graph import absorbed_tensors

    absorbed = absorbed_tensors(onnx.load(options.path))
    found: dict[str, Any] = {"images": options.check}
    minmax = pair(options, tensors, "minmax", 0.0)
    found["tensors"] = len(minmax)
    found["minmax_largest_difference"] = max(difference(*both) for both in minmax.values())
    for percent in (99.999, 99.9):
        ranges = pair(options, tensors, "percentile", percent)
        own = {name: difference(*both) for name, both in ranges.items() if name not in absorbed}
        # Where the share is a whole number of values, ONNX Runtime's rounded sum of shares may take the next larger
        # value for the last inside; a hair more asks ours for it.
        following = pair(options, tensors, "percentile", percent + 1e-7, theirs=ranges)
        rounded = {name: min(own[name], difference(*following[name])) for name in own}
        found[f"percentile_{percent}_largest_difference"] = max(own.values())
        found[f"percentile_{percent}_largest_difference_but_rounding"] = max(rounded.values())
        found["percentile_tensors"] = len(own)
    entropy = pair(options, tensors, "entropy", 0.0)
    found["onnxruntime_entropy_equals_its_minmax"] = all(entropy[name][1] == minmax[name][1] for name in entropy)
    found["ours_entropy_differs_from_minmax_on"] = sum(entropy[name][0] != minmax[name][0] for name in entropy)
    assert found["minmax_largest_difference"] == 0, found
    assert all(found[f"percentile_{percent}_largest_difference_but_rounding"] <= 0.02 for percent in (99.999, 99.9)), (
        found
    )
    return found


def pair(
    options: argparse.Namespace, tensors: Path, method: str, percent: float, theirs: dict[str, Any] | None = None
) -> dict[str, tuple[Any, Any]]:
    """Give (ours, theirs) for each tensor; their ranges may be those of an earlier pair."""
    ours = checked_ranges(options, tensors, f"ours {method}", percent)
    if theirs is None:
        return {
            name: (ours[name], ends)
            for name, ends in checked_ranges(options, tensors, f"onnxruntime {method}", percent).items()
        }
    return {name: (ours[name], ends) for name, (_, ends) in theirs.items()}


def checked_ranges(options: argparse.Namespace, tensors: Path, contender: str, percent: float) -> dict[str, Any]:
    result = spawn(options, tensors, contender, options.check, percent)
    if isinstance(result, str):
        raise SystemExit(f"The comparison of ranges ran {result}. Pass a smaller --check.")
    ranges: dict[str, Any] = next(iter(result["ranges"].values()))
    return ranges


def difference(ours: tuple[float, float], theirs: tuple[float, float]) -> float:
    """Largest difference of the two ends, as a share of the larger end."""
    size = max(map(abs, theirs)) or 1.0
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / size


# The race


def race(options: argparse.Namespace, tensors: Path, count: int) -> list[dict[str, Any]]:
    chosen = [name for name in CONTENDERS if name.partition(" ")[2] in options.methods]
    runs: dict[str, list[dict[str, Any] | str]] = {name: [] for name in chosen}
    for _ in range(options.repeats):
        for name, results in runs.items():
            if not any(isinstance(result, str) for result in results):
                results.append(spawn(options, tensors, name, count))
                print(f"{name}, {count} images: {brief(results[-1])}", file=sys.stderr, flush=True)
    rows = [summarise(name, count, results) for name, results in runs.items()]
    for row in [row for row in rows if "reason" in row]:
        rows.append(largest_that_fits(options, tensors, row["contender"], count // 2))
    return compare(rows)


def alone(options: argparse.Namespace, tensors: Path, count: int) -> dict[str, Any]:
    """Run all four of our methods in one calibration; where there are fewer images, they come again in turn."""
    result = spawn(options, tensors, ALONE, count)
    print(f"{ALONE}, {count} images: {brief(result)}", file=sys.stderr, flush=True)
    return summarise(ALONE, count, [result])


def brief(result: dict[str, Any] | str) -> str:
    return result if isinstance(result, str) else f"{result['seconds']:.1f} s, {result['peak_mb']:.0f} MB"


def largest_that_fits(options: argparse.Namespace, tensors: Path, name: str, count: int) -> dict[str, Any]:
    result = spawn(options, tensors, name, count)
    print(f"{name}, {count} images: {brief(result)}", file=sys.stderr, flush=True)
    if isinstance(result, str) and count > 1:
        return largest_that_fits(options, tensors, name, count // 2)
    return summarise(name, count, [result])


def summarise(name: str, count: int, results: list[dict[str, Any] | str]) -> dict[str, Any]:
    row: dict[str, Any] = {"contender": name, "images": count}
    good = [result for result in results if not isinstance(result, str)]
    if len(good) < len(results):
        return row | {"reason": next(result for result in results if isinstance(result, str))}
    seconds = [result["seconds"] for result in good]
    row |= {"seconds": statistics.median(seconds), "seconds_all": seconds}
    row["cpu_seconds"] = statistics.median(result["cpu_seconds"] for result in good)
    row["ms_per_image"] = row["seconds"] / count * 1e3
    return row | {key: max(result[key] for result in good) for key in ("peak_mb", "growth_mb")}


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each of ONNX Runtime's rows how often ours fits into it, per image where it could not take them all."""
    ours = {row["contender"].removeprefix("ours "): row for row in rows if row["contender"].startswith("ours")}
    for row in rows:
        who, _, method = row["contender"].partition(" ")
        if who == "onnxruntime" and "seconds" in row:
            row["times_ours"] = row["ms_per_image"] / ours[method]["ms_per_image"]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    heads = ["contender", "images", "s", "range s", "CPU s", "ms/image", "peak MB", "growth", "/ ours"]
    return "\n".join(line(cells) for cells in [heads, *map(cells_of, rows)])


def line(cells: list[str]) -> str:
    widths = [24, 7, 9, 15, 9, 10, 9, 8, 8]
    return f"{cells[0]:{widths[0]}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=False)
    )


def cells_of(row: dict[str, Any]) -> list[str]:
    start = [row["contender"], str(row["images"])]
    if "reason" in row:
        return [*start, "   " + row["reason"]]
    spread = f"{min(row['seconds_all']):.1f}-{max(row['seconds_all']):.1f}"
    ratio = f"{row['times_ours']:.1f}" if "times_ours" in row else ""
    numbers = [
        f"{row['cpu_seconds']:.2f}",
        f"{row['ms_per_image']:.1f}",
        f"{row['peak_mb']:.0f}",
        f"{row['growth_mb']:.0f}",
    ]
    return [*start, f"{row['seconds']:.2f}", spread, *numbers, ratio]


def save(options: argparse.Namespace, correctness: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    from robustmq_trt.core.files import write_json
    from robustmq_trt.core.provenance import provenance

    made = provenance()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    device = re.sub(r"[^a-z0-9]+", "-", str(made["cpu"]["model"]).lower()).strip("-")
    machine = f"{device}-{made['cpu']['cores']}cores-ort{made['packages'].get('onnxruntime')}"
    path: Path = options.results / f"calibration-{options.model}-{today}-{machine}.json"
    setting = {"model": options.path.name, "repeats": options.repeats, "limit_gb": options.limit_gb}
    document = {"date": today, "definition": __doc__, **setting, "load": os.getloadavg()[0], "provenance": made}
    write_json(path, {**document, "correctness": correctness, "rows": rows})
    return path


if __name__ == "__main__":
    main()
