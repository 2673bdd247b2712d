"""Trains the embedded classifier on rendered images held in memory and writes ``assets/model.onnx``."""

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from net import Net, to_onnx
from photo import SIDE, crops, normalised
from scene import CLASSES
from torch import Tensor

ASSETS = Path(__file__).resolve().parents[2] / "assets"
TRAIN_PER_CLASS = 900
HELDOUT_PER_CLASS = 250
TRAIN_SIDE = 73
BATCH = 64
PEAK_RATE = 0.1


def augmented(pixels: npt.NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """Cut a random 64x64 window out of each 73x73 image, mirror half of them; return the network's input."""
    rows, columns = rng.integers(0, TRAIN_SIDE - SIDE + 1, size=(2, len(pixels)))
    span = np.arange(SIDE)
    spans = np.where(rng.random(len(pixels))[:, None] < 0.5, span, span[::-1])
    images = np.arange(len(pixels))[:, None, None]
    windows = pixels[images, (rows[:, None] + span)[:, :, None], (columns[:, None] + spans)[:, None, :]]
    return torch.from_numpy(normalised(windows)).contiguous(memory_format=torch.channels_last)


def train(net: Net, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], *, epochs: int, seed: int) -> None:
    """Fit the network by SGD with a one-cycle schedule, in place."""
    rng, steps = np.random.default_rng(seed), epochs * (len(pixels) // BATCH)
    optimizer = torch.optim.SGD(net.parameters(), lr=PEAK_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.2)
    net.train()
    for epoch in range(epochs):
        total = 0.0
        for rows in rng.permutation(len(pixels))[: len(pixels) // BATCH * BATCH].reshape(-1, BATCH):
            loss = F.cross_entropy(net(augmented(pixels[rows], rng)), torch.from_numpy(labels[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total / (len(pixels) // BATCH):.3f}", flush=True)


def correct(net: Net, x: Tensor, labels: Tensor) -> float:
    """Return the share of inputs whose largest logit is the label's."""
    with torch.no_grad():
        return float((net(x).argmax(dim=1) == labels).float().mean())


def fgsm(net: Net, x: Tensor, labels: Tensor, *, eps: float) -> Tensor:
    """Return inputs one signed-gradient step of ``eps`` (pixel scale) uphill: arXiv 1412.6572, sec. 4."""
    x = x.clone().requires_grad_()
    F.cross_entropy(net(x), labels).backward()
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    assert x.grad is not None
    return x.detach() + x.grad.sign() * eps / std


def report(net: Net, *, seed: int) -> None:
    """Print clean, noisy and attacked accuracy on held-out renderings."""
    pixels, numbers = crops("heldout", range(len(CLASSES)), range(HELDOUT_PER_CLASS))
    x, labels = torch.from_numpy(normalised(pixels)), torch.from_numpy(numbers)
    noise = np.random.default_rng(seed).normal(0, 0.18 * 255, pixels.shape)
    noisy = torch.from_numpy(normalised(np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)))
    attacked = fgsm(net, x, labels, eps=8 / 255)
    print(f"held-out, n={len(labels)}: clean {correct(net, x, labels):.4f}", end=", ")
    print(f"noise 0.18 {correct(net, noisy, labels):.4f}, fgsm 8/255 {correct(net, attacked, labels):.4f}")
    for label, name in enumerate(CLASSES):
        rows = labels == label
        print(f"  {name:9s} {correct(net, x[rows], labels[rows]):.3f}")


def main() -> None:
    """Render, train, report and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--per-class", type=int, default=TRAIN_PER_CLASS)
    parser.add_argument("--output", type=Path, default=ASSETS / "model.onnx")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # two threads that share two busy cores spin: ten times slower
    start = time.perf_counter()
    pixels, labels = crops("train", range(len(CLASSES)), range(options.per_class), side=TRAIN_SIDE)
    print(f"rendered {len(pixels)} images in {time.perf_counter() - start:.0f} s", flush=True)
    start = time.perf_counter()
    net = Net(len(CLASSES)).to(memory_format=torch.channels_last)
    train(net, pixels, labels, epochs=options.epochs, seed=0)
    print(f"trained in {time.perf_counter() - start:.0f} s")
    net.eval()
    report(net, seed=0)
    model = to_onnx(net, side=SIDE)
    facts = {"train.per_class": str(options.per_class), "train.sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, options.output)


if __name__ == "__main__":
    main()
