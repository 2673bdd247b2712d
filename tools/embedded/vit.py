"""The embedded vision transformer (torch) and its ONNX form. How it learns lives in ``train_vit.py``."""

import math

import numpy as np
import numpy.typing as npt
import onnx
import torch
from net import IR_VERSION, OPSET, GraphWriter, conv
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

WIDTH = 128
HIDDEN = 256
HEADS = 4
DEPTH = 2
TOKENS = 64
STEM_END = "block1.relu"
STEM_CHANNELS = 32
NECK = 64


class Attention(nn.Module):  # type: ignore[misc]
    """Multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762, eq. 1) with one product for q, k and v."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 64, WIDTH) mixtures of (N, 64, WIDTH) tokens."""
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):  # type: ignore[misc]
    """A pre-norm transformer block (Dosovitskiy et al. 2021, arXiv 2010.11929, eqs. 2 and 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(WIDTH), Attention(), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens after attention and the two-layer network, each with its residual."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Vit(nn.Module):  # type: ignore[misc]
    """A vision transformer with 64 tokens of 8x8 pixels and mean pooling, behind the first stages of ``model.onnx``.

    Its tokens are cut out of a convolutional network's features instead of pixels: the hybrid of Dosovitskiy et al.
    2021, sec. 3.1. That stem is not trained again, so this module starts at its output.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.neck, self.embed = conv(STEM_CHANNELS, NECK, stride=2), nn.Conv2d(NECK, WIDTH, 1)
        self.position = nn.Parameter(0.02 * torch.randn(1, TOKENS, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, classes) logits of the stem's (N, 32, 16, 16) features."""
        x = self.embed(torch.relu(self.neck(features))).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


def array(values: Tensor) -> npt.NDArray[np.float32]:
    """Return a parameter as an array."""
    return np.asarray(values.detach().numpy(), dtype=np.float32)


class VitWriter(GraphWriter):
    """Writes a transformer's layers as ONNX nodes, named by the layer."""

    def integers(self, name: str, values: list[int]) -> str:
        """Append an int64 initializer, as shapes are."""
        self.weights.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def number(self, name: str, value: float) -> str:
        """Append a scalar."""
        return self.weight(name, np.array([value], dtype=np.float32))

    def linear(self, name: str, layer: nn.Linear, x: str) -> str:
        """Append MatMul and Add, as exporters write a Linear layer on more than two axes."""
        product = self.node("MatMul", [x, self.weight(f"{name}.weight", array(layer.weight.T))], f"{name}.matmul")
        return self.node("Add", [product, self.weight(f"{name}.bias", array(layer.bias))], name)

    def norm(self, name: str, layer: nn.LayerNorm, x: str) -> str:
        """Append a LayerNormalization over the last axis; torch's epsilon is ONNX's default."""
        inputs = [x, self.weight(f"{name}.scale", array(layer.weight)), self.weight(f"{name}.bias", array(layer.bias))]
        return self.node("LayerNormalization", inputs, name)

    def heads(self, name: str, x: str, order: list[int]) -> str:
        """Append the split of the last axis into heads and a transpose."""
        shape = self.integers(f"{name}.shape", [0, TOKENS, HEADS, WIDTH // HEADS])
        return self.node("Transpose", [self.node("Reshape", [x, shape], f"{name}.heads")], f"{name}.turned", perm=order)

    def attention(self, name: str, layer: Attention, x: str) -> str:
        """Append self-attention."""
        q, k, v = self.split(f"{name}.qkv", layer.qkv, [f"{name}.{letter}" for letter in "qkv"], x)
        scaled = self.node("Mul", [q, self.number(f"{name}.factor", (WIDTH // HEADS) ** -0.5)], f"{q}.scaled")
        queries, keys = self.heads(q, scaled, [0, 2, 1, 3]), self.heads(k, k, [0, 2, 3, 1])
        scores = self.node("MatMul", [queries, keys], f"{name}.scores")
        weights = self.node("Softmax", [scores], f"{name}.weights", axis=-1)
        mixed = self.node("MatMul", [weights, self.heads(v, v, [0, 2, 1, 3])], f"{name}.mixed")
        turned = self.node("Transpose", [mixed], f"{name}.mixed.turned", perm=[0, 2, 1, 3])
        shape = self.integers(f"{name}.joined.shape", [0, TOKENS, WIDTH])
        return self.linear(f"{name}.out", layer.out, self.node("Reshape", [turned, shape], f"{name}.joined"))

    def split(self, name: str, layer: nn.Linear, parts: list[str], x: str) -> list[str]:
        """Append a Linear layer whose outputs are cut into equal parts."""
        sizes = self.integers(f"{name}.sizes", [WIDTH] * len(parts))
        node = helper.make_node("Split", [self.linear(name, layer, x), sizes], parts, name=f"{name}.split", axis=2)
        self.nodes.append(node)
        return parts

    def gelu(self, name: str, x: str) -> str:
        """Append x/2 (1 + erf(x / sqrt 2)), as exporters write it below opset 20."""
        ratio = self.node("Div", [x, self.number(f"{name}.root", math.sqrt(2))], f"{name}.ratio")
        erf = self.node("Erf", [ratio], f"{name}.erf")
        gate = self.node("Add", [erf, self.number(f"{name}.one", 1.0)], f"{name}.gate")
        return self.node("Mul", [self.node("Mul", [x, gate], f"{name}.twice"), self.number(f"{name}.half", 0.5)], name)

    def transformer(self, name: str, block: Block, x: str) -> str:
        """Append a block."""
        mixed = self.attention(f"{name}.attention", block.attention, self.norm(f"{name}.norm1", block.norm1, x))
        x = self.node("Add", [x, mixed], f"{name}.middle")
        up = self.linear(f"{name}.up", block.up, self.norm(f"{name}.norm2", block.norm2, x))
        return self.node("Add", [x, self.linear(f"{name}.down", block.down, self.gelu(f"{name}.gelu", up))], name)

    def stem(self, model: onnx.ModelProto) -> str:
        """Append the nodes of ``model.onnx`` up to the stem's end, with their weights."""
        names = [node.output[0] for node in model.graph.node]
        self.nodes += model.graph.node[: names.index(STEM_END) + 1]
        read = {name for node in self.nodes for name in node.input}
        self.weights += [weight for weight in model.graph.initializer if weight.name in read]
        return STEM_END

    def tokens(self, net: Vit, x: str) -> str:
        """Append the neck and the position embedding."""
        x = self.node("Relu", [self.conv("neck", net.neck, x)], "neck.relu")
        weight, bias = array(net.embed.weight), array(net.embed.bias)
        inputs = [x, self.weight("embed.weight", weight), self.weight("embed.bias", bias)]
        x = self.node("Conv", inputs, "embed", kernel_shape=[1, 1])
        flat = self.node("Reshape", [x, self.integers("flat.shape", [0, WIDTH, TOKENS])], "flat")
        turned = self.node("Transpose", [flat], "turned", perm=[0, 2, 1])
        return self.node("Add", [turned, self.weight("position", array(net.position))], "tokens")

    def pooled(self, x: str) -> str:
        """Append the mean over the tokens as a GlobalAveragePool.

        ONNX Runtime's ReduceMean over a middle axis rounds differently in other batch sizes (1.31).
        """
        turned = self.node("Transpose", [x], "norm.turned", perm=[0, 2, 1])
        side = math.isqrt(TOKENS)
        image = self.node("Reshape", [turned, self.integers("image.shape", [0, WIDTH, side, side])], "image")
        return self.node("GlobalAveragePool", [image], "pool")


def to_onnx(net: Vit, stem: onnx.ModelProto, *, side: int) -> onnx.ModelProto:
    """Return stem and network as a checked ONNX model: ``input`` (N, 3, side, side) to ``logits`` (N, classes)."""
    graph = VitWriter()
    x = graph.tokens(net, graph.stem(stem))
    for number, block in enumerate(net.blocks):
        assert isinstance(block, Block)
        x = graph.transformer(f"encoder{number}", block, x)
    x = graph.node("Flatten", [graph.pooled(graph.norm("norm", net.norm, x))], "features", axis=1)
    weight, bias = graph.weight("head.weight", array(net.head.weight)), graph.weight("head.bias", array(net.head.bias))
    graph.node("Gemm", [x, weight, bias], "logits", transB=1)
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, side, side])
    target = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", net.head.out_features])
    proto = helper.make_graph(graph.nodes, "embedded_vit", [source], [target], graph.weights)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="robustmq-trt")
    onnx.checker.check_model(model, full_check=True)
    return model
