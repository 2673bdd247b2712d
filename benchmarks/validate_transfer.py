"""Claim: our transfer attacks walk as torchattacks' do: after rounding, at least 99.5 % of pixel values are equal.

ResNet20 on CIFAR-10 images, eps 8/255, step 2/255, 10 steps, the same random draws on both sides (ours, handed to
torch), the smoothing kernel of torchattacks. Both attacks take their gradients from the very same torch network, in
double and in single precision. One sign that hangs on the last digit sends the rest of a walk elsewhere, so the noise
floor stands beside: torchattacks in single against torchattacks in double. The last figure takes our gradients from
the twin (ONNX Runtime, single precision).

torchattacks is not a dependency: install it beside this project by hand (``pip install --no-deps torchattacks``).
Needs ROBUSTMQ_DATA and the torch extra.

    python benchmarks/validate_transfer.py              # for the record: 24 images
    python benchmarks/validate_transfer.py --images 2 --no-save
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import onnx
import torch
import torchattacks

from robustmq_trt.core.files import sha256_file, write_json
from robustmq_trt.core.provenance import provenance
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.climb import Ascent
from robustmq_trt.evaluate.attacks.difgsm import difgsm
from robustmq_trt.evaluate.attacks.gradient import TransferResult, TransferTask
from robustmq_trt.evaluate.attacks.mifgsm import mifgsm
from robustmq_trt.evaluate.attacks.nifgsm import nifgsm
from robustmq_trt.evaluate.attacks.tifgsm import tifgsm
from robustmq_trt.evaluate.attacks.vmifgsm import vmifgsm
from robustmq_trt.evaluate.twin.twin import Twin
from robustmq_trt.inputs.catalog import PRESETS
from robustmq_trt.inputs.pipeline import Pipeline
from robustmq_trt.inputs.sources import open_dataset

EPS, STEPS, CLAIM, KERNEL, COPIES, NEIGHBOURS = 8, 10, 0.995, 15, 5, 5
ASCENT = Ascent(eps=EPS, steps=STEPS)
MODEL = "resnet20_cifar10_float"
REFERENCE = Path(__file__).parents[1] / "tests" / "evaluate" / "twin" / "torch_reference.py"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One attack on both sides; ``stream`` names our random stream, empty where nothing is drawn."""

    ours: Callable[[TransferTask], TransferResult]
    theirs: Callable[[torch.nn.Module], Any]
    stream: str = ""


COMMON: dict[str, Any] = {"eps": EPS / 255, "alpha": 2 / 255, "steps": STEPS, "decay": 1.0}
PAIRS = {
    "MI": Pair(ours=lambda t: mifgsm(t, ASCENT), theirs=lambda m: torchattacks.MIFGSM(m, **COMMON)),
    "NI": Pair(ours=lambda t: nifgsm(t, ASCENT), theirs=lambda m: torchattacks.NIFGSM(m, **COMMON)),
    "SI": Pair(
        ours=lambda t: nifgsm(t, ASCENT, copies=COPIES), theirs=lambda m: torchattacks.SINIFGSM(m, **COMMON, m=COPIES)
    ),
    "DI": Pair(
        ours=lambda t: difgsm(t, ASCENT), theirs=lambda m: torchattacks.DIFGSM(m, **COMMON), stream=f"difgsm:eps={EPS}"
    ),
    "TI": Pair(
        ours=lambda t: tifgsm(t, ASCENT, kernel=KERNEL, diversity=True),
        theirs=lambda m: torchattacks.TIFGSM(m, **COMMON, len_kernel=KERNEL),
        stream=f"ditifgsm:eps={EPS}",
    ),
    "VMI": Pair(
        ours=lambda t: vmifgsm(t, ASCENT, copies=NEIGHBOURS),
        theirs=lambda m: torchattacks.VMIFGSM(m, **COMMON, N=NEIGHBOURS),
        stream=f"vmifgsm:eps={EPS}",
    ),
}


class PixelNet(torch.nn.Module):
    """The network behind its normalisation, for images in [0, 1]."""

    def __init__(self, path: Path, pipeline: Pipeline, dtype: torch.dtype) -> None:
        super().__init__()
        self._net = _torch_reference().TorchModel(onnx.load(path), dtype)
        self._mean = torch.tensor(pipeline.mean, dtype=dtype).reshape(1, 3, 1, 1)
        self._std = torch.tensor(pipeline.std, dtype=dtype).reshape(1, 3, 1, 1)
        self.dtype = dtype
        self.register_parameter("anchor", torch.nn.Parameter(torch.zeros(1)))  # tells torchattacks the device

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the scores, in double, of images in [0, 1]."""
        return self._net((images - self._mean) / self._std).double()


class TorchSource:
    """The same network's gradients for our attacks."""

    def __init__(self, net: PixelNet) -> None:
        self._net = net

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Give d cross-entropy / d grey level, (N, H, W, 3)."""
        leaf = torch.tensor(images.transpose(0, 3, 1, 2), dtype=self._net.dtype).div(255).requires_grad_()
        torch.nn.functional.cross_entropy(self._net(leaf), torch.from_numpy(labels), reduction="sum").backward()
        gradient: np.ndarray = leaf.grad.numpy().transpose(0, 2, 3, 1)
        return gradient


def _torch_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("torch_reference", REFERENCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def theirs(pair: Pair, net: PixelNet, task: TransferTask) -> np.ndarray:
    """Run torchattacks image by image, with our streams behind torch's draws."""
    found = []
    for image, label, sha256 in zip(task.images, task.labels, task.hashes, strict=True):
        attack = pair.theirs(net)
        if isinstance(attack, torchattacks.TIFGSM):
            attack.stacked_kernel = attack.stacked_kernel.to(net.dtype)
        pixels = torch.tensor(image.transpose(2, 0, 1)[None], dtype=net.dtype) / 255
        with injected(image_stream(task.seed, pair.stream, sha256)):
            made = attack(pixels, torch.tensor([int(label)]))
        found.append((made[0] * 255).round().numpy().transpose(1, 2, 0).astype(np.uint8))
    return np.stack(found)


class injected:  # noqa: N801 reads as the statement it is used in
    """Hands a stream's draws to torch.randint, torch.rand and Tensor.uniform_ for as long as a block lasts."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._patches = [
            mock.patch.object(torch, "randint", lambda low, high, size, dtype: torch.tensor([rng.integers(low, high)])),
            mock.patch.object(torch, "rand", side_effect=lambda _: torch.tensor([rng.random()])),
            mock.patch.object(torch.Tensor, "uniform_", lambda self, low, high: _uniform(self, rng, high)),
        ]

    def __enter__(self) -> None:
        for patch in self._patches:
            patch.start()

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()


def _uniform(like: torch.Tensor, rng: np.random.Generator, high: float) -> torch.Tensor:
    _, channels, height, width = like.shape
    levels = rng.uniform(-255 * high, 255 * high, size=(height, width, channels))
    return torch.tensor(levels.transpose(2, 0, 1)[None], dtype=like.dtype) / 255


def compare(name: str, pair: Pair, task: TransferTask, nets: Mapping[str, PixelNet]) -> dict[str, Any]:
    reference = {precision: theirs(pair, net, task) for precision, net in nets.items()}
    ours = {
        precision: pair.ours(replace(task, source=TorchSource(net))).adversarials for precision, net in nets.items()
    }
    pairs = {
        "ours / theirs, the same gradients, double": (ours["double"], reference["double"]),
        "ours / theirs, the same gradients, single": (ours["single"], reference["single"]),
        "ours on the twin / theirs, double": (pair.ours(task).adversarials, reference["double"]),
        "theirs, single / theirs, double: the noise floor": (reference["single"], reference["double"]),
    }
    shares = {key: (left == right).mean(axis=(1, 2, 3)) for key, (left, right) in pairs.items()}
    print(name, {key: round(float(share.mean()), 4) for key, share in shares.items()}, flush=True)
    return {
        "attack": name,
        "equal_share_of_values": {key: float(share.mean()) for key, share in shares.items()},
        "images_with_99.5_percent_equal": {key: int((share >= CLAIM).sum()) for key, share in shares.items()},
        "images_entirely_equal": {key: int((share == 1).sum()) for key, share in shares.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--no-save", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(os.environ["ROBUSTMQ_DATA"])
    path, pipeline = root / "models" / f"{MODEL}.onnx", PRESETS["cifar10"]
    dataset = open_dataset(root / "data" / "cifar10_2000").subset(arguments.images, seed=0)
    task = TransferTask(
        images=np.stack([pipeline.load(sample.read()) for sample in dataset.samples]),
        labels=np.array([sample.label for sample in dataset.samples]),
        hashes=[sample.sha256 for sample in dataset.samples],
        source=Twin.open(path, pipeline, threads=1),
    )
    nets = {
        "double": PixelNet(path, pipeline, torch.float64),
        "single": PixelNet(path, pipeline, torch.float32),
    }
    rows = [compare(name, pair, task, nets) for name, pair in PAIRS.items()]
    lowest = min(row["equal_share_of_values"]["ours / theirs, the same gradients, double"] for row in rows)
    print(f"lowest share in double: {lowest}")
    assert lowest >= CLAIM
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    result = {
        "claim": "share of pixel values equal to torchattacks' after rounding, same draws",
        "date": today,
        "model": MODEL,
        "model_sha256": sha256_file(path),
        "images": len(dataset),
        "seed": 0,
        "eps": EPS,
        "steps": STEPS,
        "settings": {"TI kernel": KERNEL, "SI copies": COPIES, "VMI neighbours": NEIGHBOURS, "TI includes DI": True},
        "rows": rows,
        "provenance": {**provenance(), "torch": torch.__version__, "torchattacks": torchattacks.__version__},
    }
    print(json.dumps(result, indent=2))
    if not arguments.no_save:
        name = f"transfer_{today}_torchattacks-{torchattacks.__version__}_torch-{torch.__version__}.json"
        write_json(Path(__file__).parent / "results" / name, result)


if __name__ == "__main__":
    main()
