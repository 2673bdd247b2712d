"""A ResNet18 (He et al. 2016, arXiv 1512.03385, table 1) of random weights, for measurements of time and memory only.

Its answers mean nothing; its shapes, its 1.8 GMAC an image and its 11.7 million weights are those of the real one.
"""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

SIZE = (224, 224)
SEED = 0
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))


def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Give Conv + BatchNorm with the usual padding."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """A basic residual block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3, 1)
        self.shortcut = conv(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Give relu(second(relu(first(x))) + shortcut(x))."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class ResNet18(nn.Module):
    """The network for 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)
        blocks, inputs = [], 64
        for outputs, stride in STAGES:
            blocks += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
            inputs = outputs
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Give (N, 1000) scores of (N, 3, 224, 224) images."""
        features = self.blocks(self.pool(torch.relu(self.stem(x))))
        return self.head(features.mean(dim=(2, 3)))


def random_resnet18() -> nn.Module:
    """Give the network after one batch of noise has set its BatchNorm statistics, so that no layer overflows."""
    torch.manual_seed(SEED)
    net = ResNet18()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the plain mean over what it has seen
    with torch.no_grad():
        net.train()(torch.randn(4, 3, *SIZE))
    return net.eval()


def exported() -> onnx.ModelProto:
    """Give the network as our torch path exports and prepares it."""
    from robustmq_trt.export.prepare import prepare
    from robustmq_trt.export.torch_model import export_torch

    return prepare(export_torch("resnet18:random_resnet18", size=SIZE).model).model
