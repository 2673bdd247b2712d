"""An ONNX classifier as a torch computation, operator by operator: the independent reference for gradients.

Used by the tests and by benchmarks/bench_twin.py. Shares no code with the rules under test: gradients come from
torch's autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Attributes = dict[str, Any]
Operator = Callable[[Sequence[Any], Attributes], torch.Tensor | tuple[torch.Tensor, ...]]


class TorchModel:
    """Runs an ONNX graph in torch.

    Args:
        model: The graph; constants are folded once, weights become tensors of ``dtype``.
        dtype: Floating-point type to compute in.
    """

    def __init__(self, model: onnx.ModelProto, dtype: torch.dtype = torch.float32) -> None:
        graph = model.graph
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.steps = []
        for node in graph.node:
            if all(name in values for name in node.input if name):
                opsets = {entry.domain: entry.version for entry in model.opset_import}
                feed = {name: values[name] for name in node.input if name}
                values.update(zip(node.output, ReferenceEvaluator(node, opsets=opsets).run(None, feed), strict=True))
            else:
                attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
                self.steps.append((OPERATORS[node.op_type], list(node.input), list(node.output), attributes))
        self.constants = {name: _tensor(np.asarray(value), dtype) for name, value in values.items()}
        self.input_name = next(value.name for value in graph.input if value.name not in values)
        self.output_name = graph.output[0].name

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Give the scores of a batch."""
        values = {**self.constants, self.input_name: batch, "": None}
        for operator, inputs, outputs, attributes in self.steps:
            result = operator([values[name] for name in inputs], attributes)
            values.update(zip(outputs, result if isinstance(result, tuple) else (result,), strict=True))
        return values[self.output_name]

    def gradient(self, batch: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Give d sum of cross-entropies / d batch by autograd.

        The loss itself is taken in double: in float32 the gradient at a sure image's label, p - 1, is rounding noise,
        and on CIFAR-10 images the whole gradient then points elsewhere (cosine down to 0.34).
        """
        dtype = next(value.dtype for value in self.constants.values() if value.is_floating_point())
        leaf = torch.tensor(batch, dtype=dtype, requires_grad=True)
        loss = F.cross_entropy(self(leaf).double(), torch.from_numpy(labels), reduction="sum")
        return torch.autograd.grad(loss, leaf)[0].numpy()


def _tensor(value: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(value))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _conv(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    x, weight, bias = (*inputs, None)[:3]
    axes = weight.ndim - 2
    begin, end = np.split(np.array(attributes.get("pads", [0] * 2 * axes)), 2)
    padded = F.pad(x, [int(amount) for axis in range(axes)[::-1] for amount in (begin[axis], end[axis])])
    convolution = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    ones = [1] * axes
    return convolution(
        padded,
        weight,
        bias,
        stride=attributes.get("strides", ones),
        dilation=attributes.get("dilations", ones),
        groups=attributes.get("group", 1),
    )


def _slice(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    x, starts, ends, axes, steps = (*inputs, None, None)[:5]
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps, strict=True):
        x = x.index_select(axis, torch.tensor(range(x.shape[axis])[slice(start, end, step)]))
    return x


def _pad(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    begin, end = np.split(inputs[1].numpy(), 2)
    return F.pad(inputs[0], [int(amount) for axis in range(len(begin))[::-1] for amount in (begin[axis], end[axis])])


def _gemm(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    a, b, c = (*inputs, None)[:3]
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


def _clip(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    """Torch's `hardtanh`, not `clamp`: zero gradient at the bounds themselves, as the frameworks' ReLU6 has."""
    x, low, high = (*inputs, None, None)[:3]
    return F.hardtanh(x, -np.inf if low is None else low.item(), np.inf if high is None else high.item())


def _max_pool(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    pads = attributes.get("pads", [0, 0, 0, 0])
    return F.max_pool2d(inputs[0], attributes["kernel_shape"], attributes.get("strides"), pads[:2])


def _layer_normalization(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    x, scale, bias = (*inputs, None)[:3]
    return F.layer_norm(x, scale.shape, scale, bias, attributes.get("epsilon", 1e-5))


def _reshape(inputs: Sequence[Any], attributes: Attributes) -> torch.Tensor:
    x, shape = inputs[0], inputs[1].tolist()
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


def _where(inputs: Sequence[Any], _: Attributes) -> torch.Tensor:
    return torch.where(inputs[0], inputs[1], inputs[2])


OPERATORS: dict[str, Operator] = {
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(list(inputs), attributes["axis"]),
    "Conv": _conv,
    "Div": lambda inputs, _: inputs[0] / inputs[1],
    "Einsum": lambda inputs, attributes: torch.einsum(attributes["equation"].decode(), *inputs),
    "Elu": lambda inputs, attributes: F.elu(inputs[0], attributes.get("alpha", 1.0)),
    "Erf": lambda inputs, _: torch.erf(inputs[0]),
    "Flatten": lambda inputs, attributes: torch.flatten(inputs[0], attributes.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean(dim=tuple(range(2, inputs[0].ndim)), keepdim=True),
    "GlobalMaxPool": lambda inputs, _: inputs[0].amax(dim=(2, 3), keepdim=True),
    "Greater": lambda inputs, _: inputs[0] > inputs[1],
    "HardSigmoid": lambda inputs, _: F.hardsigmoid(inputs[0]),
    "HardSwish": lambda inputs, _: F.hardswish(inputs[0]),
    "InstanceNormalization": lambda inputs, attributes: F.instance_norm(
        inputs[0], weight=inputs[1], bias=inputs[2], eps=attributes.get("epsilon", 1e-5)
    ),
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": lambda inputs, attributes: torch.log_softmax(inputs[0], attributes.get("axis", -1)),
    "MatMul": lambda inputs, _: inputs[0] @ inputs[1],
    "MaxPool": _max_pool,
    "Max": lambda inputs, _: torch.maximum(*inputs),
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Pad": _pad,
    "PRelu": lambda inputs, _: torch.where(inputs[0] > 0, inputs[0], inputs[0] * inputs[1]),
    "ReduceL2": lambda inputs, attributes: torch.linalg.vector_norm(inputs[0], dim=attributes["axes"], keepdim=True),
    "ReduceMean": lambda inputs, attributes: inputs[0].mean(dim=attributes["axes"], keepdim=True),
    "Relu": lambda inputs, _: torch.relu(inputs[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda inputs, _: torch.sigmoid(inputs[0]),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: torch.softmax(inputs[0], attributes.get("axis", -1)),
    "Softplus": lambda inputs, _: F.softplus(inputs[0]),
    "Split": lambda inputs, attributes: torch.split(inputs[0], inputs[1].tolist(), attributes.get("axis", 0)),
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
    "Tanh": lambda inputs, _: torch.tanh(inputs[0]),
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
    "Where": _where,
}
