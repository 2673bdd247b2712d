"""Trains the embedded vision transformer on rendered images; writes ``assets/vit.onnx``.

Run after ``train.py``: ``model.onnx`` teaches it and gives its stem. All randomness comes from ``SEED`` and everything
runs on one thread, so the same versions of torch, numpy and ONNX Runtime on the same kind of CPU give the same weights;
other kernels round differently and give another network of about the same accuracy. The file says which versions,
pixels, teacher and scripts made it.
"""

import argparse
import hashlib
import math
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from photo import SIDE, crops, normalised
from scene import CLASSES
from torch import Tensor
from train import ASSETS, HELDOUT_PER_CLASS, TRAIN_PER_CLASS, TRAIN_SIDE, augmented
from vit import STEM_END, Vit, to_onnx

SEED = 0
EPOCHS = 2
BATCH = 32
PEAK_RATE = 1e-3
WEIGHT_DECAY = 0.05
TEMPERATURE = 2.0
SCRIPTS = ("train_vit.py", "vit.py")

Pixels = npt.NDArray[np.uint8]


class Teacher:
    """The embedded convolutional classifier, run by ONNX Runtime on one thread."""

    def __init__(self, model: onnx.ModelProto) -> None:
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        watched.graph.output.append(onnx.helper.make_tensor_value_info(STEM_END, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        content = watched.SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stem's (N, 32, 16, 16) features and the (N, classes) logits of (N, 3, 64, 64) images."""
        features, logits = self._session.run([STEM_END, "logits"], {"input": np.ascontiguousarray(x.numpy())})
        return torch.from_numpy(features), torch.from_numpy(logits)


def distillation(logits: Tensor, taught: Tensor) -> Tensor:
    """Return T^2 KL(teacher || student) of the softened answers: Hinton et al. 2015, arXiv 1503.02531, sec. 2.

    Teacher and student see the same augmented image: Beyer et al. 2022, arXiv 2106.05237.
    """
    target = F.softmax(taught / TEMPERATURE, dim=1)
    return TEMPERATURE**2 * F.kl_div(F.log_softmax(logits / TEMPERATURE, dim=1), target, reduction="batchmean")


def train(net: Vit, teacher: Teacher, pixels: Pixels, *, epochs: int, seed: int) -> None:
    """Fit the network to the teacher's answers by AdamW with a warm-up epoch and a cosine schedule, in place."""
    per_epoch = len(pixels) // BATCH
    steps, rng = epochs * per_epoch, np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / per_epoch, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    net.train()
    for epoch in range(epochs):
        total, start = 0.0, time.process_time()
        for rows in rng.permutation(len(pixels))[: per_epoch * BATCH].reshape(-1, BATCH):
            features, taught = teacher(augmented(pixels[rows], rng))
            loss = distillation(net(features), taught)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.process_time() - start
        print(f"epoch {epoch + 1}/{epochs}: loss {total / per_epoch:.3f}, {seconds:.0f} s of CPU", flush=True)


def rendered(path: Path | None) -> Pixels:
    """Return the training pixels of ``train.py``, from the file that an earlier run kept where one is given."""
    if path is not None and path.exists():
        stored: Pixels = np.load(path)["arr_0"]
        return stored
    pixels, _ = crops("train", range(len(CLASSES)), range(TRAIN_PER_CLASS), side=TRAIN_SIDE)
    if path is not None:
        np.savez(path, pixels)
    return pixels


def facts(pixels: Pixels) -> dict[str, str]:
    """Return what the file says of its making: pixels, scripts, seed and versions."""
    folder = Path(__file__).parent
    scripts = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SCRIPTS}
    return {
        "train.per_class": str(TRAIN_PER_CLASS),
        "train.sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "train.teacher.sha256": hashlib.sha256((ASSETS / "model.onnx").read_bytes()).hexdigest(),
        "train.seed": str(SEED),
        "train.versions": f"torch {torch.__version__}, numpy {np.__version__}, onnxruntime {onnxruntime.__version__}",
    } | {f"train.script.{name}": digest for name, digest in scripts.items()}


def correct(path: Path, pixels: Pixels, labels: npt.NDArray[np.int64]) -> float:
    """Return the share of images whose largest logit is the label's."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"input": normalised(pixels)})[0]
    return float(np.mean(logits.argmax(axis=1) == labels))


def main() -> None:
    """Render, train, export and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--pixels", type=Path, help="keep the rendered pixels in this .npz file, or read them from it")
    parser.add_argument("--heldout", type=int, default=HELDOUT_PER_CLASS, help="images per class it is tested on")
    parser.add_argument("--output", type=Path, default=ASSETS / "vit.onnx")
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # two threads that share two busy cores spin: ten times slower
    pixels = rendered(options.pixels)
    start = time.process_time()
    stem = onnx.load(ASSETS / "model.onnx")
    net = Vit(len(CLASSES))
    train(net, Teacher(stem), pixels, epochs=options.epochs, seed=SEED)
    print(f"trained in {time.process_time() - start:.0f} s of CPU")
    net.eval()
    model = to_onnx(net, stem, side=SIDE)
    onnx.helper.set_model_props(model, facts(pixels))
    onnx.save(model, options.output)
    pixels, labels = crops("heldout", range(len(CLASSES)), range(options.heldout))
    print(f"held-out, n={len(labels)}: clean {correct(options.output, pixels, labels):.4f}")


if __name__ == "__main__":
    main()
