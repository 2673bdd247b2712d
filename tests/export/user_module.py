"""A user's own PyTorch module, as `module:callable` names it: what exports well, and what does not."""

import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, head=None):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)
        self.drop = nn.Dropout(0.5)
        self.head = head or nn.Linear(8, 5)

    def features(self, x):
        return torch.relu(self.norm(self.conv(x))).mean((2, 3))

    def forward(self, x):
        return self.head(self.drop(self.features(x).view(x.size(0), -1)))


class Leftover(Net):
    def features(self, x):
        y = F.batch_norm(self.conv(x), None, None, training=True)
        return torch.relu(y).mean((2, 3))


class Random(Net):
    def forward(self, x):
        return self.head(F.dropout(self.features(x), training=True))


class Pair(Net):
    def forward(self, x):
        y = super().forward(x)
        return y, y


class Picky(Net):
    def forward(self, x):
        if x.shape[2] < 4:
            raise ValueError("too small")
        return super().forward(x)


class Unexportable(Net):
    def forward(self, x):
        y = x.mean((2, 3))
        return super().forward(x) + torch.linalg.eigvalsh(y[:, :, None] * y[:, None, :]).sum(1, keepdim=True)


class Untraceable(Net):
    def forward(self, x):
        y = super().forward(x)
        return y * 2 if bool(y.sum() > 1e9) else y


def with_argument(width):
    return Net()


def number():
    return 7


def broken():
    raise RuntimeError("no such checkpoint")
