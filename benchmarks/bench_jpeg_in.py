"""Claim: behind a JPEG-in pipeline no image of MobileNetV2 INT8 holds at 8 or 4 levels; what transfers survives JPEG.

Built here with 128 calibration images; 100 other images, decoded from their JPEG files, cropped, attacked at model
size. Transfer examples come from the float model's twin and from another architecture (MobileNetV1 0.75, which sees
them resized to its 192 pixels), query attacks get 1000 queries alone and from an example of that other architecture.
Every example is judged by the engine on each route: lossless, re-encoded as JPEG 95, 90, 75, and through two other
presets, with clean images beside; the distance is checked in integers. On a slow machine the dear attacks may get the
first images only (``--query-images``, ``--bsr-images``); every row says its n, and a worst case is over the images that
all of its attacks saw. Accuracy only: nothing is timed.

    ROBUSTMQ_DATA=... python benchmarks/bench_jpeg_in.py --work DIR      # goes on where it was interrupted
    ROBUSTMQ_DATA=... python benchmarks/bench_jpeg_in.py --images 4 --no-save
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustmq_trt.cli.main import main as robustmq
from robustmq_trt.cli.targets import opened_targets, without_calibration
from robustmq_trt.core.files import write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.core.statistics import wilson
from robustmq_trt.evaluate.attacks.catalog import ATTACKS, TransferEntry, parse_attack, start_of
from robustmq_trt.evaluate.attacks.difgsm import Placement, place, place_back
from robustmq_trt.evaluate.attacks.gradient import GradientSource, TransferTask
from robustmq_trt.evaluate.attacks.protocol import Goal, linf_levels
from robustmq_trt.evaluate.attacks.query_catalog import QUERY_ATTACKS
from robustmq_trt.evaluate.conditions import Condition
from robustmq_trt.evaluate.oracle import Oracle
from robustmq_trt.evaluate.scheduler import run_attacks
from robustmq_trt.evaluate.target import Target, answer
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.evaluate.verdict import Route, all_routes, route_shares, through
from robustmq_trt.inputs.dataset import Dataset
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

SEED, CALIBRATION, OTHER_SIDE = 0, 128, 192
CHUNK = 25  # images between two files of `--work`
MODEL, OTHER = "mobilenet_v2_float", "mobilenet_v1_075_float"
PRESET, SHIFTS = "tflite-mobilenet", ("opencv-linear", "opencv-nearest")
TRANSFERS, QUERIES = ("mifgsm", "difgsm", "bsr"), ("square", "linear", "rays")

Images = NDArray[np.uint8]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One attack with its settings, and the model whose gradients it uses; empty for none."""

    condition: Condition
    source: str = ""

    @property
    def name(self) -> str:
        """What records call it."""
        return f"{self.condition.label} from {self.source}" if self.source else self.condition.label


class Smaller:
    """A twin of smaller images: they are shrunk for it, and its gradient is carried back by the transpose."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._corner = Placement(OTHER_SIDE, OTHER_SIDE, 0, 0)

    def gradient(self, images: NDArray[Any], labels: NDArray[np.integer[Any]]) -> NDArray[np.floating[Any]]:
        """Give d cross-entropy / d pixel of the larger images."""
        placed = np.stack([place(image, self._corner) for image in images])
        small = self._twin.gradient(placed[:, :OTHER_SIDE, :OTHER_SIDE], labels)
        canvas = np.zeros(images.shape)
        canvas[:, :OTHER_SIDE, :OTHER_SIDE] = small
        return np.stack([place_back(gradient, self._corner) for gradient in canvas])


def cells() -> list[Cell]:
    """List what is run, the cheap transfer attacks first, BSR after the other attacks of its eps."""
    found = []
    for eps in (8, 4):
        for source in (MODEL, OTHER):
            found += [Cell(condition=parse_attack(f"{name}:eps={eps}"), source=source) for name in TRANSFERS]
        for name in QUERIES:
            spec = f"{name}:eps={eps},queries=1000"
            found.append(Cell(condition=parse_attack(spec)))
            found.append(Cell(condition=parse_attack(f"{spec},start=mifgsm"), source=OTHER))
    return sorted(found, key=lambda cell: (is_dear(cell), -cell.condition["eps"] * is_dear(cell), is_bsr(cell)))


def is_bsr(cell: Cell) -> bool:
    return cell.condition.name == "bsr"


def is_dear(cell: Cell) -> bool:
    return is_bsr(cell) or cell.condition.name in QUERIES


def sources(root: Path, pipeline: Pipeline, threads: int) -> dict[str, GradientSource]:
    other = Twin.open(root / f"{OTHER}.onnx", pipeline.for_size(OTHER_SIDE, OTHER_SIDE), threads=threads, batch=8)
    return {MODEL: Twin.open(root / f"{MODEL}.onnx", pipeline, threads=threads, batch=8), OTHER: Smaller(other)}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The engine, the images it is asked about, and where gradients come from."""

    target: Target
    images: Images
    labels: NDArray[np.int64]
    hashes: list[str]
    sources: dict[str, GradientSource]

    def part(self, first: int, end: int) -> Bench:
        """Give the same with some of the images only."""
        chosen = slice(first, end)
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], hashes=self.hashes[chosen])

    def delivered(self, cell: Cell) -> tuple[Images, NDArray[np.int64]]:
        """Attack the images that the engine gets right; give all images as delivered, and the queries each took."""
        right = np.flatnonzero(answer(self.target, self.images).prediction == self.labels)
        made, queries = self.images.copy(), np.zeros(len(self.images), dtype=np.int64)
        if isinstance(ATTACKS[cell.condition.name], TransferEntry):
            made[right] = self._transferred(cell.condition, cell.source, right)
        else:
            made[right], queries[right] = self._queried(cell, right)
        return made, queries

    def _transferred(self, condition: Condition, source: str, chosen: NDArray[np.intp]) -> Images:
        task = TransferTask(
            images=self.images[chosen],
            labels=self.labels[chosen],
            hashes=[self.hashes[i] for i in chosen],
            source=self.sources[source],
            seed=SEED,
        )
        entry = ATTACKS[condition.name]
        assert isinstance(entry, TransferEntry)
        return entry.craft(task, dict(condition.settings)).adversarials

    def _queried(self, cell: Cell, chosen: NDArray[np.intp]) -> tuple[Images, NDArray[np.int64]]:
        attack = QUERY_ATTACKS[cell.condition.name].make(dict(cell.condition.settings))
        begun = start_of(cell.condition)
        starts = None if begun is None else self._transferred(begun, cell.source, chosen)
        states = (
            attack.begin(
                self.images[i],
                Goal(int(self.labels[i])),
                image_stream(SEED, attack.task, self.hashes[i]),
                None if starts is None else starts[place],
            )
            for place, i in enumerate(chosen)
        )
        target = self.target
        oracle = Oracle(target.engine, target.pipeline, batch=target.batch, budget=attack.budget, pad=target.pad)
        results = run_attacks(states, oracle)
        return np.stack([one.adversarial for one in results]), np.array([one.queries for one in results])


def clean_answers(bench: Bench) -> dict[str, Bools]:
    """Tell route by route which clean images the engine gets right: the control of every attack."""
    return {route.name: right(bench, bench.images, route) for route in all_routes(SHIFTS)}


def right(bench: Bench, images: Images, route: Route) -> Bools:
    shown = through(images, route, bench.target.pipeline)
    return answer(bench.target, shown).prediction == bench.labels[: len(images)]


def judged(
    bench: Bench, clean: dict[str, Bools], cell: Cell, made: Images, queries: NDArray[np.int64]
) -> dict[str, Any]:
    """Check the distance in integers and ask the engine on every route."""
    count = len(made)
    moved = linf_levels(made, bench.images[:count])
    assert moved <= cell.condition["eps"]
    attacked = {route.name: right(bench, made, route) for route in all_routes(SHIFTS)}
    lossless = clean["lossless"][:count], attacked["lossless"]
    shares = {name: route_shares(lossless, (clean[name][:count], held)) for name, held in attacked.items()}
    return {
        "attack": cell.condition.label,
        "eps": cell.condition["eps"],
        "source": cell.source,
        "n": count,
        "linf_levels": moved,
        "queries_mean": float(queries[queries > 0].mean()) if queries.any() else 0.0,
        "queries_median": float(np.median(queries[queries > 0])) if queries.any() else 0.0,
        "routes": {name: {metric: asdict(i) for metric, i in found.items()} for name, found in shares.items()},
        "held": {name: (clean[name][:count] & held).tolist() for name, held in attacked.items()},
    }


def worst_cases(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give robust accuracy under the per-image AND of each family and of all but BSR."""
    found = []
    for eps in (8, 4):
        usual = [row for row in rows if row["eps"] == eps and not row["attack"].startswith("bsr")]
        for family, chosen in (
            ("transfer", [row for row in usual if "queries" not in row["attack"]]),
            ("queries alone", [row for row in usual if not row["source"]]),
            ("all", usual),
        ):
            count = min((row["n"] for row in chosen), default=0)
            for route in chosen[0]["held"] if chosen else ():
                held = np.logical_and.reduce([row["held"][route][:count] for row in chosen])
                share = wilson(int(held.sum()), count)
                figures = {"robust_accuracy": share.value, "interval": [share.low, share.high], "n": share.n}
                found.append({"eps": eps, "family": family, "attacks": len(chosen), "route": route, **figures})
    return found


def wanted(cell: Cell, options: argparse.Namespace) -> int:
    if is_bsr(cell):
        return min(options.images, options.bsr_images)
    return min(options.images, options.query_images) if is_dear(cell) else int(options.images)


def kept(bench: Bench, cell: Cell, work: Path, count: int) -> tuple[Images, NDArray[np.int64]]:
    """Give what an attack delivered on at least so many images: what earlier runs kept, the others attacked now."""
    made, queries = longest_kept(work, cell, len(bench.images))
    while len(made) < count:
        end = min(len(made) + CHUNK, count)
        further = bench.part(len(made), end).delivered(cell)
        made, queries = np.concatenate([made, further[0]]), np.concatenate([queries, further[1]])
        np.savez(kept_at(work, cell, end), made=made, queries=queries)
        kept_at(work, cell, end - len(further[0])).unlink(missing_ok=True)
    return made, queries


def longest_kept(work: Path, cell: Cell, most: int) -> tuple[Images, NDArray[np.int64]]:
    for count in range(most, 0, -1):
        if (path := kept_at(work, cell, count)).exists():
            with np.load(path) as stored:
                return stored["made"], stored["queries"]
    return np.empty((0, 224, 224, 3), dtype=np.uint8), np.empty(0, dtype=np.int64)


def kept_at(work: Path, cell: Cell, count: int) -> Path:
    """Name the file of an attack's first images; each image has its own random stream, so more can be added to it."""
    return work / f"{cell.name.replace(':', '-').replace(' ', '_')}-{count}.npz"


def show(row: dict[str, Any]) -> None:
    success = "  ".join(f"{route} {found['attack_success']['value']:.0%}" for route, found in row["routes"].items())
    name = f"{row['attack']} {row['source']}"
    print(f"{name:66} n={row['n']} q={row['queries_mean']:.0f} {success}", flush=True)


def measure(target: Target, dataset: Dataset, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    dataset = dataset.subset(options.images, SEED)
    loaded = load_images(dataset, target.pipeline, threads=1)
    assert not loaded.failures
    root = Path(os.environ["ROBUSTMQ_DATA"]) / "models"
    bench = Bench(
        target=target,
        images=loaded.images,
        labels=np.array(loaded.labels, dtype=np.int64),
        hashes=list(loaded.hashes),
        sources=sources(root, target.pipeline, options.threads),
    )
    rows: list[dict[str, Any]] = []
    clean = clean_answers(bench)
    document = {"rows": rows, "engine": dict(target.identity)}
    for cell in cells():
        made, queries = kept(bench, cell, work, wanted(cell, options))
        rows.append(judged(bench, clean, cell, made, queries))
        show(rows[-1])
        document["worst_cases"] = worst_cases(rows)
        if not options.no_save:  # after every cell, so that a run cut short has its figures
            save(document, options)
    for entry in document["worst_cases"]:
        print(entry)
    return document


def save(document: dict[str, Any], options: argparse.Namespace) -> None:
    today, made = datetime.datetime.now(datetime.UTC).date().isoformat(), provenance()
    rows = [{key: value for key, value in row.items() if key != "held"} for row in document["rows"]]
    settings = {"seed": SEED, "images": options.images, "preset": PRESET, "calibration": CALIBRATION}
    settings |= {"cells_measured": len(rows), "cells_planned": len(cells()), "threads": options.threads}
    whole = {"date": today, "model": MODEL, **document, "rows": rows, "settings": settings, "provenance": made}
    name = f"jpeg_in_mobilenet_v2_{today}_onnxruntime-{made['packages']['onnxruntime']}.json"
    write_json(Path(__file__).parent / "results" / name, whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--query-images", type=int, default=100, help="most images for each query attack")
    parser.add_argument("--bsr-images", type=int, default=100, help="most images for BSR")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keeps the engine and the examples; default is a temporary folder")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    root = Path(os.environ["ROBUSTMQ_DATA"])
    data = root / "data" / "imagenet600"
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        engine = work / f"{MODEL.removesuffix('_float')}.w8a8.onnx"
        if not engine.exists():
            how = [
                "--calib",
                str(data / "images"),
                "--calib-size",
                str(CALIBRATION),
                "--preset",
                PRESET,
                "-o",
                str(work),
            ]
            assert robustmq(["build", str(root / "models" / f"{MODEL}.onnx"), "--bits", "8", *how, "--quiet"]) == 0
        with opened_targets([str(engine)], preset=PRESET, threads=options.threads, batch=32) as targets:
            dataset, left_out = without_calibration(open_dataset(data), targets)
            assert left_out == CALIBRATION
            measure(targets[0].target, dataset, options, work)


if __name__ == "__main__":
    main()
