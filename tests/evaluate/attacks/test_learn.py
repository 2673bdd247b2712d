"""The learner against linear models with a known best pattern, and against torch, which takes the same steps."""

import numpy as np
import pytest
import torch

from robustmq_trt.core.errors import InputError
from robustmq_trt.core.randomness import image_stream
from robustmq_trt.evaluate.attacks.gradient import TransferTask
from robustmq_trt.evaluate.attacks.learn import BATCH, Lesson, ScoredSource
from robustmq_trt.evaluate.attacks.patch import patch
from robustmq_trt.evaluate.attacks.universal import universal
from robustmq_trt.evaluate.twin.twin import InputGradient

F = torch.nn.functional


class Linear:
    """Scores are pixels times weights, (C, H, W, 3), plus a bias; written by hand, and it counts what it is asked."""

    def __init__(self, weights: np.ndarray, bias: np.ndarray | None = None) -> None:
        self.weights = weights
        self.bias = np.zeros(len(weights)) if bias is None else bias
        self.seen: list[np.ndarray] = []

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self.scored_gradient(images, labels).gradient

    def scored_gradient(self, images: np.ndarray, labels: np.ndarray) -> InputGradient:
        self.seen.append(np.array(images))
        scores = np.tensordot(images, self.weights, axes=([1, 2, 3], [1, 2, 3])) + self.bias
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        shares[np.arange(len(labels)), labels] -= 1
        return InputGradient(scores=scores, gradient=np.tensordot(shares, self.weights, axes=1))


class TorchNet:
    """A bent network in double, and its gradients by autograd."""

    def __init__(self, size: int) -> None:
        torch.manual_seed(5)
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3, padding=1),
            torch.nn.SiLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(6 * size * size, 4),
        ).double()
        self.net.requires_grad_(requires_grad=False)

    def scores(self, images: "torch.Tensor") -> "torch.Tensor":
        """Take (N, H, W, 3) grey levels."""
        return 30 * self.net(images.permute(0, 3, 1, 2) / 255)

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self.scored_gradient(images, labels).gradient

    def scored_gradient(self, images: np.ndarray, labels: np.ndarray) -> InputGradient:
        leaf = torch.from_numpy(images.astype(np.float64)).requires_grad_()
        scores = self.scores(leaf)
        F.cross_entropy(scores, torch.from_numpy(labels), reduction="sum").backward()
        return InputGradient(scores=scores.detach().numpy(), gradient=leaf.grad.numpy())


def lesson(images: np.ndarray, labels: np.ndarray, source: ScoredSource, seed: int = 0) -> Lesson:
    return Lesson(images=images, labels=labels, source=source, seed=seed)


def task(images: np.ndarray, source: ScoredSource, seed: int = 0) -> TransferTask:
    hashes = [bytes(image.ravel()[:8]).hex() for image in images]
    return TransferTask(images=images, labels=np.zeros(len(images), int), hashes=hashes, source=source, seed=seed)


@pytest.fixture
def pictures(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(60, 200, (70, 8, 8, 3), dtype=np.uint8)


def test_the_best_universal_perturbation_of_a_linear_model_is_found(pictures, rng):
    """All images are of class 0 of 2: the loss of each rises fastest along w1 - w0, so -eps sign(w0 - w1) is best."""
    weights = rng.normal(size=(2, 8, 8, 3)) * 1e-3
    labels = np.zeros(len(pictures), dtype=np.int64)

    craft = universal(lesson(pictures, labels, Linear(weights)), eps=9, steps=10)

    moved = craft(task(pictures[:3], Linear(weights))).adversarials.astype(int) - pictures[:3]
    np.testing.assert_array_equal(moved, np.broadcast_to(9 * np.sign(weights[1] - weights[0]), moved.shape))


def test_an_image_fooled_beyond_the_clamp_does_not_rule_the_others(pictures, rng):
    """20 images of class 1 are lost by far (gradient 1 each), 50 of class 0 are right by a little (far below 1)."""
    weights = np.stack([np.full((8, 8, 3), 1e-4), np.full((8, 8, 3), -1e-4)])
    labels = np.r_[np.ones(20, int), np.zeros(50, int)]
    scores = Linear(weights).scored_gradient(pictures, labels).scores
    bias = np.array([10.0, 0])
    assert ((scores + bias)[:, 0] - (scores + bias)[:, 1] > 9).all()

    craft = universal(lesson(pictures, labels, Linear(weights, bias)), eps=4, steps=12)

    moved = craft(task(pictures, Linear(weights))).adversarials.astype(int) - pictures
    assert (moved == -4).all()  # towards class 1, away from the images that are right


def test_every_image_is_seen_once_before_any_is_seen_again(pictures):
    source = Linear(np.zeros((2, 8, 8, 3)))

    universal(lesson(pictures, np.zeros(70, int), source), eps=1, steps=6)

    assert [len(batch) for batch in source.seen] == [BATCH, BATCH, 6] * 2
    for epoch in (source.seen[:3], source.seen[3:]):
        rows = np.concatenate(epoch).reshape(70, -1)
        np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(pictures.reshape(70, -1), axis=0))


def test_universal_takes_the_steps_that_torch_takes(pictures):
    """Reference: autograd of the clamped loss of torch.clamp(image + delta), by the paper's Algorithm 1."""
    source, labels, eps = TorchNet(8), np.arange(70) % 4, 11
    rng, delta = image_stream(2, f"universal:eps={eps}", ""), torch.zeros(8, 8, 3, dtype=torch.float64)
    order = np.r_[rng.permutation(70), rng.permutation(70)]
    clamped = 0
    for number, first in enumerate((0, 32, 64, 70, 102)):
        chosen = order[first : min(first + 32, 70 if first < 70 else 140)]
        leaf = delta.clone().requires_grad_()
        shown = torch.clamp(torch.from_numpy(pictures[chosen].astype(np.float64)) + leaf, 0, 255)
        losses = F.cross_entropy(source.scores(shown), torch.from_numpy(labels[chosen]), reduction="none")
        clamped += int((losses > 9).sum())
        torch.clamp(losses, max=9).mean().backward()
        delta = torch.clamp(delta + 0.4 * (1 - number / 5) * eps * leaf.grad.sign(), -eps, eps)
    wanted = np.clip(pictures + np.rint(delta.numpy()), 0, 255)

    craft = universal(lesson(pictures, labels, source, seed=2), eps=eps, steps=5)

    assert clamped > 10
    np.testing.assert_array_equal(craft(task(pictures, source)).adversarials, wanted)


def test_patch_takes_the_steps_that_torch_takes(pictures):
    """Reference: the square is put on by torch's affine_grid and grid_sample and differentiated by autograd."""
    source, labels, side = TorchNet(8), np.arange(70) % 4, 3
    rng = image_stream(1, "patch:area=15", "")
    order, values = rng.permutation(70), torch.full((side, side, 3), 127.5, dtype=torch.float64)
    for first, step in ((0, 32), (32, 16)):
        leaf, losses = values.clone().requires_grad_(), []
        for i in order[first : first + 32]:
            shown = _covered(leaf, torch.from_numpy(pictures[i].astype(np.float64)), rng)
            losses.append(F.cross_entropy(source.scores(shown[None]), torch.tensor([labels[i]])))
        torch.clamp(torch.stack(losses), max=9).mean().backward()
        values = torch.clamp(values + step * leaf.grad.sign(), 0, 255)
    found = task(pictures, source, seed=1)
    wanted = [
        _covered(torch.round(values), torch.from_numpy(picture.astype(np.float64)), stream).numpy()
        for picture, stream in zip(pictures, found.streams("patch placement"), strict=True)
    ]

    craft = patch(lesson(pictures, labels, source, seed=1), area=15, steps=2)

    np.testing.assert_allclose(craft(found).adversarials, np.stack(wanted), atol=0.5 + 1e-6)


def _covered(values: "torch.Tensor", image: "torch.Tensor", rng: np.random.Generator) -> "torch.Tensor":
    """Draw a turn and a centre, and cover the image there; black padding of value and of coverage alike."""
    side, size = len(values), len(image)
    degrees = rng.uniform(-22.5, 22.5)
    turn = np.deg2rad(degrees)
    half = side / 2 * (np.cos(turn) + abs(np.sin(turn)))
    middle, centre = (half - 0.5 + rng.random() * (size - 2 * half) for _ in range(2))
    down, right = torch.meshgrid(
        torch.arange(size, dtype=torch.float64) - middle,
        torch.arange(size, dtype=torch.float64) - centre,
        indexing="ij",
    )
    rows = float(np.cos(turn)) * down - float(np.sin(turn)) * right
    columns = float(np.sin(turn)) * down + float(np.cos(turn)) * right
    grid = torch.stack([2 * columns / side, 2 * rows / side], dim=-1)[None]
    layers = torch.cat([values.permute(2, 0, 1), torch.ones(1, side, side, dtype=torch.float64)])[None]
    drawn = F.grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0].permute(1, 2, 0)
    return image * (1 - drawn[..., 3:]) + drawn[..., :3]


def test_a_lesson_without_images_or_labels_is_refused(pictures):
    with pytest.raises(InputError, match="uint8"):
        lesson(pictures[:0], np.zeros(0, int), Linear(np.zeros((2, 8, 8, 3))))
    with pytest.raises(InputError, match="a label for each of 70"):
        lesson(pictures, np.zeros(3, int), Linear(np.zeros((2, 8, 8, 3))))
    with pytest.raises(InputError, match="`steps`"):
        universal(lesson(pictures, np.zeros(70, int), Linear(np.zeros((2, 8, 8, 3)))), eps=8, steps=0)
