"""Claim: transfer does not tell INT8 from float, JPEG does: the transfer matrix and what survives, with intervals.

ResNet20 in float, w8a8 and w4a8 with ResNet56 and the ensemble of both nets' float files as further sources; and
MobileNetV2 in float and w8a8 with the independently trained net and the ensemble. Engines are built here, from images
that are left out of the attack; every number comes from the commands a user has. Needs ROBUSTMQ_DATA.

    python benchmarks/bench_transfer.py                                    # for the record
    python benchmarks/bench_transfer.py --models resnet20 --images 8 --no-save
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustmq_trt.cli.main import main as robustmq
from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.provenance import provenance


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One net, the precisions it is built in, and the attacks."""

    model: str
    other: str
    data: str
    preset: str
    precisions: tuple[str, ...]
    images: int
    attacks: tuple[str, ...]


SETTINGS = {
    "resnet20": Setting(
        model="resnet20_cifar10_float",
        other="resnet56_cifar10_float",
        data="cifar10_2000",
        preset="cifar10",
        precisions=("w8a8", "w4a8"),
        images=200,
        attacks=("mifgsm:eps=2", "mifgsm:eps=8", "ditifgsm:eps=8,kernel=5"),
    ),
    "mobilenet_v2": Setting(
        model="mobilenet_v2_float",
        other="mobilenet_v2_qat_float",
        data="imagenet600",
        preset="tflite-mobilenet",
        precisions=("w8a8",),
        images=40,
        attacks=("mifgsm:eps=4",),
    ),
}


def measure(setting: Setting, images: int | None, root: Path, folder: Path) -> dict[str, Any]:
    data = ["--data", str(root / "data" / setting.data)]
    model, other = (str(root / "models" / f"{name}.onnx") for name in (setting.model, setting.other))
    for precision in setting.precisions:
        weights, activations = precision[1:].split("a")
        calib = ["--calib", data[1], "--calib-size", "64", "--preset", setting.preset]
        bits = ["--weights", weights, "--activations", activations]
        command("build", model, *bits, *calib, "-o", str(folder / "engines"))
    engines = folder / "engines"
    targets = [str(path) for path in sorted(engines.glob("*.onnx")) if "fp32" in path.name]
    targets += [str(path) for p in setting.precisions for path in sorted(engines.glob(f"*.{p}.onnx"))]
    count = ["--images", str(images or setting.images), "--threads", "1"]
    extra = ["--surrogate", other, "--surrogate", model, "--ensemble", "--survival", "--shift", "opencv-nearest"]
    rows = []
    for attack in setting.attacks:
        rows += command("transfer-matrix", *targets, *data, *count, *extra, "--attack", attack)["records"]
        print(table(rows[-400:], attack), flush=True)
    for row in rows:
        assert row["identity"].get("linf_levels", 0) <= 8
    return {
        "model": setting.model,
        "model_sha256": sha256_file(Path(model)),
        "surrogate": setting.other,
        "surrogate_sha256": sha256_file(Path(other)),
        "records": rows,
    }


def command(*words: str) -> dict[str, Any]:
    """Run one command of ours and give its JSON document."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = robustmq([*words, "--json", "--quiet"])
    assert code == 0, out.getvalue()
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def table(rows: list[dict[str, Any]], attack: str) -> str:
    """Give the matrix and the survival as lines."""
    kept = [row for row in rows if row["condition"].startswith((attack.split(":")[0], "clean"))]
    kept = [row for row in kept if row["metric"] in ("transfer", "survival", "twin_agreement")]
    return "\n".join(
        f"{row['condition']:80} {row['engine']:32} {row['metric']:15} {row['value']} n={row['n']}" for row in kept
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--images", type=int)
    parser.add_argument("--no-save", action="store_true")
    arguments = parser.parse_args()
    root = Path(os.environ["ROBUSTMQ_DATA"])
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    result: dict[str, Any] = {"claim": "share fooled, source against engine", "date": today, "seed": 0, "models": []}
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            result["models"].append(measure(SETTINGS[name], arguments.images, root, Path(folder)))
    result["provenance"] = provenance()
    if not arguments.no_save:
        version = result["provenance"]["packages"]["onnxruntime"]
        name = f"transfer_matrix_{'_'.join(arguments.models)}_{today}_onnxruntime-{version}.json"
        write_json(Path(__file__).parent / "results" / name, result)


if __name__ == "__main__":
    main()
