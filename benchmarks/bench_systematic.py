"""Claims: INT8 keeps what preprocessing leaves of a float model, fewer bits do not; RobustMQ's four claims, answered.

MobileNetV2, calibrated on 128 images and evaluated on the other 472, by ``preprocessing`` with its defaults: RobustMQ's
grid of 3 decoders and 11 resizes for float, 8, 6 and 4 bits; eight JPEG qualities; calibration against serving presets;
planted pictures. Nothing is timed and nothing is tuned.

    ROBUSTMQ_DATA=... python benchmarks/bench_systematic.py WORK --corruptions RUN       # the record
    ROBUSTMQ_DATA=... python benchmarks/bench_systematic.py WORK --images 20 --pairs 2 --no-save

WORK keeps the engines and each experiment's document; what is there is not made again. RUN is the folder of
``evaluate FLOAT INT... --suite imagenet-c``, for the claims on corruptions; it may be given several times.
``--attacked N`` also attacks every engine on N images, each with the gradients of its own file, for the claims on
attacks; they have a record of their own, and ``--only-attacked`` leaves the rest out.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from robustmq_trt.cli.main import main as command
from robustmq_trt.cli.report import open_results
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.provenance import package_versions
from robustmq_trt.evaluate.attack_claims import attack_claims, attack_shares, common_attacks
from robustmq_trt.evaluate.claims import corruption_claims, engine_claims, total_shares
from robustmq_trt.evaluate.decoded_sets import prepared_batches
from robustmq_trt.evaluate.metrics import records
from robustmq_trt.evaluate.summary import load_study
from robustmq_trt.evaluate.systematic import grid_ways
from robustmq_trt.inputs.catalog import find_preset
from robustmq_trt.inputs.loader import load_images
from robustmq_trt.inputs.sources import open_dataset

BITS = (8, 6, 4)
PRESETS = "tflite-mobilenet,opencv-linear,opencv-nearest,opencv-area,robustmq:ffmpeg/pillow-bilinear"
NAMES = ["mobilenet_v2.fp32", *(f"mobilenet_v2.w{bits}a{bits}" for bits in BITS)]
LADDER = NAMES[:0:-1]
# RobustMQ's small and middle eps that exist on the uint8 grid, and one attack that needs no gradients.
ATTACKS = ("fgsm:eps=2", "pgd:eps=2,steps=20", "mifgsm:eps=2,steps=20", "square:eps=2,queries=500")


def main() -> None:
    options = parse()
    options.work.mkdir(parents=True, exist_ok=True)
    check(options.data / "imagenet600")
    engines = build(options)
    if options.attacked:
        attacked(options, engines)
    if options.only_attacked:
        return
    documents = {name: experiment(options, engines, name) for name in ("grid", "quality", "mismatch", "scaling")}
    claims = [*documents["grid"]["claims"], *(found for run in options.corruptions for found in corruptions(run))]
    for found in claims:
        print(f"{found['answer']}: {found['text']} ({found['engine']}, n {found['n']})")
    if not options.no_save:
        print("written:", save(options, engines, documents, claims))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Preprocessing studies of MobileNetV2.")
    parser.add_argument("work", type=Path, help="folder for engines and documents; an interrupted run goes on in it")
    parser.add_argument("--corruptions", type=Path, action="append", default=[], metavar="RUN")
    parser.add_argument("--attacked", type=int, default=0, metavar="N")
    parser.add_argument("--only-attacked", action="store_true")
    parser.add_argument("--images", type=int, default=472)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    options.data = Path(os.environ["ROBUSTMQ_DATA"]) / "data"
    options.model = options.data.parent / "models" / "mobilenet_v2_float.onnx"
    return options


def check(folder: Path) -> None:
    """Sharing the decoder changes no pixel: every cell against its own pipeline on four images."""
    ways = grid_ways(find_preset("tflite-mobilenet"))
    few = open_dataset(folder, folder / "labels.csv").subset(4, 0)
    (batch,) = prepared_batches(few, ways, batch=4, threads=1)
    for way in ways:
        np.testing.assert_array_equal(batch.images[way.name], load_images(few, way.pipeline, threads=1).images)


def build(options: argparse.Namespace) -> list[Path]:
    calibration = ("--calib", options.data / "imagenet600", "--calib-size", 128, "--preset", "tflite-mobilenet")
    for bits in BITS:
        if not (options.work / f"mobilenet_v2.w{bits}a{bits}.onnx").is_file():
            run("build", options.model, "--bits", bits, *calibration, "-o", options.work)
    return [options.work / f"{name}.onnx" for name in NAMES]


def experiment(options: argparse.Namespace, engines: list[Path], name: str) -> dict[str, Any]:
    """Run one experiment, or read the document of an earlier run."""
    path, folder = options.work / f"{name}.json", options.data / "imagenet600"
    data = ("--data", folder, "--labels", folder / "labels.csv", "--images", options.images)
    arguments: dict[str, tuple[object, ...]] = {
        "grid": tuple(engines),
        "quality": tuple(engines[:2]),
        "mismatch": (options.model, "--preset", "tflite-mobilenet", "--calib", folder, "--presets", PRESETS),
        "scaling": (*engines[:2], "--pairs", options.pairs),
    }
    if not path.is_file():
        run("preprocessing", name, *arguments[name], *data, "--threads", 1, "-o", path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def run(*words: object) -> None:
    """Run a command line; a partial run would be no record."""
    code = command([str(word) for word in words])
    if code:
        raise SystemExit(f"{words[:2]} ended with {code}.")


def attacked(options: argparse.Namespace, engines: list[Path]) -> None:
    """Attack every engine in a run of its own, answer the claims, and write them down."""
    folder = options.data / "imagenet600"
    data = ("--data", folder, "--labels", folder / "labels.csv", "--images", options.attacked, "--threads", 1)
    attacks = [word for attack in ATTACKS for word in ("--attack", attack)]
    studies = {}
    for engine in engines:
        # The float model beside an integer one, so that the same calibration images are left out for all.
        targets = engines[:2] if engine.stem == NAMES[0] else [engine]
        run("evaluate", *targets, *data, *attacks, "--latency", 0, "-o", options.work / f"attacks-{engine.stem}")
        with open_results(options.work / f"attacks-{engine.stem}") as store:
            studies[engine.stem] = load_study(store)
    claims = attack_claims(attack_shares(studies), reference=NAMES[0], ladder=LADDER)
    print("measured on every engine:", *common_attacks(studies))
    for found in claims:
        means = ", ".join(f"{name} {mean:.3f}" for name, mean in found.means.items())
        print(f"{found.answer}: {found.text} (n {found.n}; {means})")
    if not options.no_save:
        document = {
            "date": options.date,
            "asked": list(ATTACKS),
            "attacks": common_attacks(studies),
            "images": options.attacked,
            "engines": {engine.name: sha256_file(engine) for engine in engines},
            "tools": package_versions(),
            "claims": [found.to_json() for found in claims],
            "records": [
                record.to_json()
                for name, study in studies.items()
                for record in records(study)
                if record.engine == name
            ],
        }
        version = package_versions()["onnxruntime"]
        path = options.results / f"attack_claims_mobilenet_v2_{options.date}_onnxruntime-{version}.json"
        write_json(path, document)
        print("written:", path)


def corruptions(folder: Path) -> list[dict[str, Any]]:
    with open_results(folder) as store:
        study = load_study(store)
    shares = total_shares(study)
    claims = [claim for name in shares for claim in corruption_claims(study, name)]
    claims += engine_claims("natural noise", shares, reference=NAMES[0], ladder=LADDER, seed=study.seed)
    files = {name: cell.identity["target"]["sha256"] for (name, _), cell in study.results.cells.items()}
    return [{**claim.to_json(), "engines": files} for claim in claims]


def save(
    options: argparse.Namespace, engines: list[Path], documents: dict[str, dict[str, Any]], claims: list[dict[str, Any]]
) -> Path:
    path = (
        options.results / f"systematic_mobilenet_v2_{options.date}_onnxruntime-{package_versions()['onnxruntime']}.json"
    )
    document = {
        "date": options.date,
        "model_sha256": sha256_file(options.model),
        "engines": {engine.name: sha256_file(engine) for engine in engines},
        "tools": package_versions(),
        "claims": claims,
        **{
            name: {key: value for key, value in found.items() if key not in ("claims", "tools")}
            for name, found in documents.items()
        },
    }
    write_json(path, document)
    return path


if __name__ == "__main__":
    main()
