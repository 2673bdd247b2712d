"""The classifier (torch), its BatchNorm folding, and its ONNX form. How it learns lives in ``train.py``."""

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 17
IR_VERSION = 8


def conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return Conv + BatchNorm with the usual padding."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Block(nn.Module):  # type: ignore[misc]
    """A basic residual block (He et al. 2016, arXiv 1512.03385, fig. 2) with a 1x1 shortcut where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv(inputs, outputs, stride=stride)
        self.second = conv(outputs, outputs)
        self.shortcut = conv(inputs, outputs, kernel=1, stride=stride) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(second(relu(first(x))) + shortcut(x))."""
        skip = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(self.second(torch.relu(self.first(x))) + skip)


class Net(nn.Module):  # type: ignore[misc]
    """A residual network for 64x64 images with eight 3x3 convolutions: 12 MMAC, 78 thousand parameters."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = conv(3, 16, stride=2)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, classes) logits of (N, 3, 64, 64) normalised images."""
        features = self.blocks(torch.relu(self.stem(x)))
        return self.head(features.mean(dim=(2, 3)))


def folded(layer: nn.Sequential) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the weight and bias of the Conv that equals Conv + BatchNorm in evaluation mode."""
    kernel, norm = layer[0], layer[1]
    assert isinstance(kernel, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * gain
    return (kernel.weight * gain[:, None, None, None]).detach().numpy(), bias.detach().numpy()


class GraphWriter:
    """Collects nodes and weights of an ONNX graph; each method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: int | list[int]) -> str:
        """Append one node."""
        node = helper.make_node(kind, inputs, [output], name=output)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return output

    def weight(self, name: str, values: npt.NDArray[np.float32]) -> str:
        """Append one initializer."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def conv(self, name: str, layer: nn.Sequential, x: str) -> str:
        """Append a Conv with its BatchNorm folded in."""
        kernel = layer[0]
        assert isinstance(kernel, nn.Conv2d)
        weight, bias = folded(layer)
        inputs = [x, self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)]
        pads = [int(kernel.padding[0])] * 4
        shape = {"kernel_shape": list(kernel.kernel_size), "strides": list(kernel.stride), "pads": pads}
        return self.node("Conv", inputs, name, **shape)

    def block(self, name: str, block: Block, x: str) -> str:
        """Append a residual block."""
        first = self.node("Relu", [self.conv(f"{name}.first", block.first, x)], f"{name}.first.relu")
        second = self.conv(f"{name}.second", block.second, first)
        skip = x if block.shortcut is None else self.conv(f"{name}.shortcut", block.shortcut, x)
        return self.node("Relu", [self.node("Add", [second, skip], f"{name}.add")], f"{name}.relu")


def to_onnx(net: Net, *, side: int) -> onnx.ModelProto:
    """Return the network as a checked ONNX model: ``input`` (N, 3, side, side) to ``logits`` (N, classes)."""
    graph = GraphWriter()
    x = graph.node("Relu", [graph.conv("stem", net.stem, "input")], "stem.relu")
    for number, block in enumerate(net.blocks):
        assert isinstance(block, Block)
        x = graph.block(f"block{number}", block, x)
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "pool")], "features", axis=1)
    weight = graph.weight("head.weight", net.head.weight.detach().numpy())
    bias = graph.weight("head.bias", net.head.bias.detach().numpy())
    graph.node("Gemm", [x, weight, bias], "logits", transB=1)
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, side, side])
    target = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", net.head.out_features])
    proto = helper.make_graph(graph.nodes, "embedded", [source], [target], graph.weights)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="robustmq-trt")
    onnx.checker.check_model(model, full_check=True)
    return model
