"""Transfer attacks in torch, written from the papers' equations: the independent reference.

Shares no code with the attacks under test. One image at a time, (1, 3, H, W) in double, grey levels; transforms are
torch's own and differentiated by autograd. Random draws are handed in, as functions that give the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

Image = torch.Tensor
Loss = Callable[[Image], torch.Tensor]
Draw = Callable[[], Image]


def small_net(classes: int = 5) -> torch.nn.Module:
    """A network with bends, in double, with weights from a seed."""
    torch.manual_seed(3)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.Tanh(),
        torch.nn.Conv2d(8, 8, 3, stride=2),
        torch.nn.SiLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32, classes),
    )
    return net.double().requires_grad_(requires_grad=False)


class TorchSource:
    """The network's gradients, as the attacks under test take them."""

    def __init__(self, net: torch.nn.Module) -> None:
        self._net = net

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Give d cross-entropy / d grey level, (N, H, W, 3)."""
        leaf = torch.from_numpy(images.astype(np.float64)).requires_grad_()
        scores = self._net(leaf.permute(0, 3, 1, 2) / 255)
        F.cross_entropy(scores, torch.from_numpy(labels).long(), reduction="sum").backward()
        return leaf.grad.numpy()


def derivative(loss: Loss, at: Image) -> Image:
    leaf = at.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


def unit(gradient: Image) -> Image:
    return gradient / gradient.abs().mean()


def momentum_attack(
    image: Image, *, eps: float, alpha: float, steps: int, decay: float, gradient: Callable[[Image, Image], Image]
) -> Image:
    """Dong et al. 2018, eq. 6 and 7, around any estimate gradient(x, momentum)."""
    x, g = image.clone(), torch.zeros_like(image)
    for _ in range(steps):
        g = decay * g + unit(gradient(x, g))
        x = torch.clamp(torch.clamp(x + alpha * g.sign(), image - eps, image + eps), 0, 255)
    return x


def looking_ahead(loss: Loss, alpha: float, decay: float, copies: int) -> Callable[[Image, Image], Image]:
    """Lin et al. 2020, eq. 6 to 8 and Algorithm 1."""

    def gradient(x: Image, g: Image) -> Image:
        ahead = x + alpha * decay * g
        return sum(derivative(lambda y, i=i: loss(y / 2**i), ahead) for i in range(copies)) / copies

    return gradient


def diverse(
    loss: Loss, placement: Callable[[], Sequence[int] | None], kernel: torch.Tensor | None = None
) -> Callable[[Image, Image], Image]:
    """Xie et al. 2019, eq. 6; with a (k, k) kernel also Dong et al. 2019, eq. 7."""

    def gradient(x: Image, g: Image) -> Image:
        drawn = placement()

        def through(y: Image) -> torch.Tensor:
            if drawn is None:
                return loss(y)
            height, width, top, left = drawn
            small = F.interpolate(y, size=(height, width), mode="bilinear", align_corners=False)
            bottom, right = y.shape[2] - top - height, y.shape[3] - left - width
            return loss(F.pad(small, (left, right, top, bottom)))

        found = derivative(through, x)
        if kernel is None:
            return found
        return F.conv2d(found, kernel.expand(3, 1, *kernel.shape), padding="same", groups=3)

    return gradient


def gaussian(taps: int) -> torch.Tensor:
    """Dong et al. 2019, section 3.3: a normalised Gaussian that ends at 3 sigma."""
    places = torch.linspace(-3, 3, taps, dtype=torch.float64)
    line = torch.exp(-places.square() / 2)
    return torch.outer(line, line) / torch.outer(line, line).sum()


class VarianceTuned:
    """Wang & He 2021, eq. 6 and Algorithm 1."""

    def __init__(self, loss: Loss, noise: Draw, copies: int) -> None:
        self.loss, self.noise, self.copies = loss, noise, copies
        self.variance: Image | float = 0.0

    def __call__(self, x: Image, g: Image) -> Image:
        here = derivative(self.loss, x)
        found = here + self.variance
        around = sum(derivative(self.loss, x + self.noise()) for _ in range(self.copies)) / self.copies
        self.variance = around - here
        return found


def flattening(loss: Loss, noise: Draw, copies: int, alpha: float) -> Callable[[Image, Image], Image]:
    """Ge et al. 2023, eq. 10 and Algorithm 1 with delta = 0.5."""

    def gradient(x: Image, g: Image) -> Image:
        total = torch.zeros_like(x)
        for _ in range(copies):
            near = x + noise()
            first = derivative(loss, near)
            total += 0.5 * first + 0.5 * derivative(loss, near - alpha * unit(first))
        return total / copies

    return gradient


def shuffled_and_rotated(x: Image, rng: np.random.Generator, blocks: int) -> Image:
    """Wang et al. 2024, eq. 4: cut, shuffle along one axis, then along the other, every block rotated."""

    def parts(image: Image, axis: int) -> list[Image]:
        size = image.shape[axis]
        cuts = np.sort(rng.choice(np.arange(1, size), blocks - 1, replace=False)).tolist()
        pieces = torch.split(image, np.diff([0, *cuts, size]).tolist(), dim=axis)
        return [pieces[index] for index in rng.permutation(blocks)]

    outer, inner = (2, 3) if rng.integers(2) else (3, 2)
    strips = [
        torch.cat([rotated(part, np.deg2rad(rng.uniform(-24, 24))) for part in parts(strip, inner)], dim=inner)
        for strip in parts(x, outer)
    ]
    return torch.cat(strips, dim=outer)


def rotated(block: Image, angle: float) -> Image:
    """Turn a block about its centre, bilinear, black outside."""
    height, width = block.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) - (height - 1) / 2,
        torch.arange(width, dtype=torch.float64) - (width - 1) / 2,
        indexing="ij",
    )
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    from_rows, from_columns = cosine * rows - sine * columns, sine * rows + cosine * columns
    grid = torch.stack([2 * from_columns / width, 2 * from_rows / height], dim=-1)  # half pixels cancel at the centre
    return F.grid_sample(block, grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)
