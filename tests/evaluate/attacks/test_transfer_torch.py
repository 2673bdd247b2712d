"""Every transfer attack against a torch reference written from the papers, with the same random draws."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.bsr import bsr
from robustmq_trt.evaluate.attacks.climb import Ascent
from robustmq_trt.evaluate.attacks.difgsm import difgsm, draw_placement
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.attacks.mifgsm import mifgsm
from robustmq_trt.evaluate.attacks.nifgsm import nifgsm
from robustmq_trt.evaluate.attacks.pgn import pgn
from robustmq_trt.evaluate.attacks.tifgsm import tifgsm
from robustmq_trt.evaluate.attacks.vmifgsm import vmifgsm

EPS, ALPHA, STEPS = 8, 2, 5
HASHES = ["a1", "b2", "c3"]


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("torch_attacks", Path(__file__).with_name("torch_attacks.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    threads = module.torch.get_num_threads()
    module.torch.set_num_threads(1)  # the tensors are tiny: two threads mostly wait for each other
    yield module
    module.torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task(reference: ModuleType) -> TransferTask:
    rng = np.random.default_rng(11)
    return TransferTask(
        images=rng.integers(0, 256, (3, 20, 24, 3), dtype=np.uint8),
        labels=np.array([0, 3, 4]),
        hashes=HASHES,
        source=reference.TorchSource(reference.small_net()),
    )


def expected(
    reference: ModuleType, task: TransferTask, estimate: Callable[..., object], name: str, decay: float = 1.0
) -> np.ndarray:
    """Attack image by image in torch; ``estimate(loss, rng)`` gives the gradient estimate."""
    torch, net = reference.torch, reference.small_net()
    found = []
    for image, label, sha256 in zip(task.images, task.labels, task.hashes, strict=True):
        x = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float64))
        target = torch.tensor([int(label)])
        gradient = estimate(
            lambda y, target=target: reference.F.cross_entropy(net(y / 255), target), image_stream(0, name, sha256)
        )
        moved = reference.momentum_attack(x, eps=EPS, alpha=ALPHA, steps=STEPS, decay=decay, gradient=gradient)
        found.append(moved[0].numpy().transpose(1, 2, 0).round())
    return np.stack(found)


def noise_of(reference: ModuleType, rng: np.random.Generator, radius: float) -> Callable[[], object]:
    def draw() -> object:
        values = rng.uniform(-radius, radius, size=(20, 24, 3))
        return reference.torch.from_numpy(values.transpose(2, 0, 1)[None])

    return draw


def assert_same(adversarials: np.ndarray, wanted: np.ndarray) -> None:
    assert (adversarials == wanted).mean() >= 0.995  # a sign near zero may differ in the last digits


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_mi_equals_the_reference(reference: ModuleType, task: TransferTask, decay: float) -> None:
    wanted = expected(reference, task, lambda loss, _: lambda x, g: reference.derivative(loss, x), "", decay)

    assert_same(mifgsm(task, Ascent(eps=EPS, steps=STEPS, decay=decay)).adversarials, wanted)


@pytest.mark.parametrize("copies", [1, 4])
def test_ni_and_si_equal_the_reference(reference: ModuleType, task: TransferTask, copies: int) -> None:
    wanted = expected(reference, task, lambda loss, _: reference.looking_ahead(loss, ALPHA, 1.0, copies), "")

    assert_same(nifgsm(task, Ascent(eps=EPS, steps=STEPS), copies=copies).adversarials, wanted)


@pytest.mark.parametrize(("name", "kernel"), [("difgsm", 0), ("ditifgsm", 5), ("ditifgsm", 3)])
def test_di_and_ti_equal_the_reference(reference: ModuleType, task: TransferTask, name: str, kernel: int) -> None:
    weights = reference.gaussian(kernel) if kernel else None
    wanted = expected(
        reference,
        task,
        lambda loss, rng: reference.diverse(loss, lambda: draw_placement(rng, 20, 24, 0.9, 0.5), weights),
        f"{name}:eps={EPS}",
    )

    if kernel:
        made = tifgsm(task, Ascent(eps=EPS, steps=STEPS), kernel=kernel, diversity=True)
    else:
        made = difgsm(task, Ascent(eps=EPS, steps=STEPS))

    assert_same(made.adversarials, wanted)


def test_ti_alone_equals_the_reference(reference: ModuleType, task: TransferTask) -> None:
    wanted = expected(reference, task, lambda loss, _: reference.diverse(loss, lambda: None, reference.gaussian(7)), "")

    assert_same(tifgsm(task, Ascent(eps=EPS, steps=STEPS)).adversarials, wanted)


def test_vmi_equals_the_reference(reference: ModuleType, task: TransferTask) -> None:
    wanted = expected(
        reference,
        task,
        lambda loss, rng: reference.VarianceTuned(loss, noise_of(reference, rng, 1.5 * EPS), 3),
        f"vmifgsm:eps={EPS}",
    )

    assert_same(vmifgsm(task, Ascent(eps=EPS, steps=STEPS), copies=3).adversarials, wanted)


def test_pgn_equals_the_reference(reference: ModuleType, task: TransferTask) -> None:
    wanted = expected(
        reference,
        task,
        lambda loss, rng: reference.flattening(loss, noise_of(reference, rng, 3.0 * EPS), 3, ALPHA),
        f"pgn:eps={EPS}",
    )

    assert_same(pgn(task, Ascent(eps=EPS, steps=STEPS), copies=3).adversarials, wanted)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_bsr_equals_the_reference(reference: ModuleType, task: TransferTask, blocks: int) -> None:
    def estimate(loss: Callable[..., object], rng: np.random.Generator) -> Callable[..., object]:
        def gradient(x: object, g: object) -> object:
            parts = [
                reference.derivative(lambda y: loss(reference.shuffled_and_rotated(y, rng, blocks)), x)
                for _ in range(2)
            ]
            return sum(parts) / 2

        return gradient

    wanted = expected(reference, task, estimate, f"bsr:eps={EPS}")

    assert_same(bsr(task, Ascent(eps=EPS, steps=STEPS), copies=2, blocks=blocks).adversarials, wanted)
