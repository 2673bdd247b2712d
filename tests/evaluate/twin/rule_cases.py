"""The tiny graphs that each rule of differentiation is tried on; a new operator's rule needs its own here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A tiny graph; T is the float type under test, `like` a smooth stand-in where the graph is a staircase."""

    shape: str
    body: str
    constants: str = ""
    like: str = ""
    opset: int = 17


IMAGE = "1,3,6,5"

CASES: dict[str, list[Case]] = {
    "Add": [
        Case(IMAGE, "a = Relu(x) y = Add(a, x)"),
        Case("2,3,4", "a = ReduceMean<axes=[0, 2]>(x) y = Add(x, a)"),
        Case("2,3", "a = ReduceMean<axes=[0], keepdims=0>(x) y = Add(a, x)"),
        Case("2,3,4", "y = Add(c, x)", "T[5,2,3,4] c"),
    ],
    "AveragePool": [
        Case(IMAGE, "y = AveragePool<kernel_shape=[2, 2], strides=[2, 2]>(x)"),
        Case(IMAGE, "y = AveragePool<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x)"),
        Case(IMAGE, "y = AveragePool<kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1>(x)"),
        Case(IMAGE, "y = AveragePool<kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 0, 1]>(x)"),
    ],
    "BatchNormalization": [
        Case(IMAGE, "y = BatchNormalization(x, s, b, m, positive)", "T[3] s, T[3] b, T[3] m, T[3] positive")
    ],
    "Cast": [Case("2,3", "y = Cast<to=KIND>(x)")],
    "Clip": [
        Case("4,5", "y = Clip(x, c, c1)", "T c = {-0.5}, T c1 = {0.75}"),
        Case("4,5", "y = Clip(x, c)", "T c = {-0.5}"),
        Case("4,5", "y = Clip(x,, c)", "T c = {0.5}"),
        Case("4,5", "y = Clip(x)"),
    ],
    "Concat": [Case("2,3,4", "a = Tanh(x) y = Concat<axis=1>(x, c, a, x)", "T[2,2,4] c")],
    "Conv": [
        Case(IMAGE, "y = Conv(x, w, b)", "T[4,3,3,3] w, T[4] b"),
        Case(IMAGE, "y = Conv<pads=[1, 1, 1, 1]>(x, w)", "T[4,3,3,3] w"),
        Case(IMAGE, "y = Conv<strides=[2, 2], pads=[1, 1, 1, 1]>(x, w)", "T[4,3,3,3] w"),
        Case(IMAGE, "y = Conv<strides=[2, 2], pads=[0, 0, 1, 1]>(x, w)", "T[4,3,3,3] w"),
        Case(IMAGE, "y = Conv<strides=[3, 2]>(x, w)", "T[2,3,1,1] w"),
        Case("1,3,7,8", "y = Conv<strides=[4, 3], pads=[0, 2, 1, 0]>(x, w)", "T[2,3,2,3] w"),
        Case("1,3,7,8", "y = Conv<dilations=[2, 3], pads=[2, 3, 1, 2]>(x, w)", "T[2,3,3,3] w"),
        Case("1,2,7,8", "y = Conv<dilations=[2, 1], strides=[2, 2], pads=[1, 1, 1, 1]>(x, w)", "T[2,2,3,3] w"),
        Case("2,4,5,5", "y = Conv<group=2, pads=[1, 1, 1, 1]>(x, w)", "T[6,2,3,3] w"),
        Case("2,4,5,5", "y = Conv<group=4, pads=[1, 1, 1, 1]>(x, w)", "T[4,1,3,3] w"),
        Case("2,4,5,5", "y = Conv<group=4, pads=[1, 1, 1, 1], strides=[2, 2]>(x, w)", "T[8,1,3,3] w"),
        Case("1,2,4,3", "y = Conv<pads=[2, 3, 0, 1]>(x, w)", "T[2,2,2,2] w"),
        Case(IMAGE, 'y = Conv<auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 3]>(x, w)', "T[2,3,3,3] w"),
        Case(IMAGE, 'y = Conv<auto_pad="SAME_LOWER", strides=[2, 2], kernel_shape=[2, 2]>(x, w)', "T[2,3,2,2] w"),
        Case(IMAGE, 'y = Conv<auto_pad="VALID", kernel_shape=[2, 2]>(x, w)', "T[2,3,2,2] w"),
        Case("2,3,9", "y = Conv<strides=[2], pads=[1, 1]>(x, w)", "T[4,3,3] w"),
    ],
    "DequantizeLinear": [
        Case(
            "6,8",
            "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
            "T s = {0.01}, int8 z = {20}",
            "y = Clip(x, c, c1)",
        )
    ],
    "Div": [
        Case("2,3", "y = Div(x, positive)", "T[3] positive"),
        Case("2,3", "y = Div(c, x)", "T[4,2,3] c"),
        Case("2,3", "a = Sigmoid(x) y = Div(x, a)"),
    ],
    "Dropout": [Case("2,3", "y = Dropout(x)")],
    "Erf": [Case("4,5", "y = Erf(x)")],
    "Exp": [Case("4,5", "y = Exp(x)")],
    "Flatten": [Case("2,3,2,2", "y = Flatten(x)"), Case("2,3,2,2", "y = Flatten<axis=0>(x)")],
    "Gather": [
        Case("2,3,4", "y = Gather<axis=1>(x, i)", "int64 i = {-2}"),
        Case("2,3,4", "y = Gather<axis=-1>(x, i)", "int64[2] i = {3, 0}"),
        Case("4,3", "y = Gather(x, i)", "int64[2,2] i = {3, 0, 2, -3}"),
        Case("2,3,4", "y = Gather<axis=1>(x, i)", "int64[2,2] i = {2, 0, 2, -1}"),
    ],
    "Gelu": [
        Case("4,5", "y = Gelu(x)", opset=20),
        Case("4,5", 'y = Gelu<approximate="tanh">(x)', opset=20),
    ],
    "Gemm": [
        Case("3,4", "y = Gemm<alpha=0.5, beta=2.0>(x, w, b)", "T[4,5] w, T[5] b"),
        Case("3,4", "y = Gemm<transB=1>(x, w)", "T[5,4] w"),
        Case("3,4", "y = Gemm<transA=1>(x, w)", "T[3,5] w"),
        Case("3,4", "y = Gemm<transA=1, transB=1>(x, w)", "T[5,3] w"),
        *(
            Case("4,4", f"a = Tanh(x) y = Gemm<transA={left}, transB={right}, beta=0.5>(x, a, x)")
            for left in (0, 1)
            for right in (0, 1)
        ),
        Case("3,4", "a = ReduceMean<axes=[0]>(x) y = Gemm(x, w, a)", "T[4,4] w"),
    ],
    "GlobalAveragePool": [Case(IMAGE, "y = GlobalAveragePool(x)")],
    "HardSigmoid": [Case("4,5", "y = HardSigmoid<alpha=0.4, beta=0.45>(x)"), Case("4,5", "y = HardSigmoid(x)")],
    "HardSwish": [Case("4,5", "a = Mul(x, c) y = HardSwish(a)", "T c = {4.0}")],
    "Identity": [Case("2,3", "y = Identity(x)")],
    "LayerNormalization": [
        Case("2,3,4", "y = LayerNormalization(x, w, b)", "T[4] w, T[4] b"),
        Case("2,3,4", "y = LayerNormalization<axis=1, epsilon=0.1>(x, w)", "T[3,4] w"),
        Case("2,3,4", "y = LayerNormalization<axis=-2>(x, w, b)", "T[3,4] w, T[3,4] b", opset=18),
        Case("3,5", "y, m, d = LayerNormalization(x, w)", "T[5] w"),
    ],
    "LeakyRelu": [Case("4,5", "y = LeakyRelu<alpha=0.1>(x)"), Case("4,5", "y = LeakyRelu(x)")],
    "Log": [Case("4,5", "a = Exp(x) y = Log(a)")],
    "MatMul": [
        Case("3,4", "y = MatMul(x, w)", "T[4,5] w"),
        Case("3,4", "y = MatMul(w, x)", "T[2,5,3] w"),
        Case("2,3,4", "a = Transpose<perm=[0, 2, 1]>(x) y = MatMul(x, a)"),
        Case("2,3,4", "y = MatMul(x, w)", "T[5,1,4,2] w"),
    ],
    "MaxPool": [
        Case("2,1,6,5", "y = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(x)"),
        Case("2,1,6,5", "y = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(x)"),
        Case("2,1,6,5", "y = MaxPool<kernel_shape=[2, 3]>(x)"),
    ],
    "Mul": [
        Case("2,3", "y = Mul(x, x)"),
        Case("2,3,2,2", "a = GlobalAveragePool(x) y = Mul(x, a)"),
        Case("2,3", "y = Mul(c, x)", "T[4,1,3] c"),
    ],
    "Neg": [Case("2,3", "y = Neg(x)")],
    "Pad": [
        Case("2,3,4", "y = Pad(x, p)", "int64[6] p = {0, 1, 2, 0, 0, 1}"),
        Case("2,3,4", "y = Pad(x, p,, a)", "int64[2] p = {1, 0}, int64[1] a = {2}", opset=18),
        Case("2,3,4", "y = Pad(x, p, c)", "int64[6] p = {0, 0, 0, 0, 0, 0}, T c = {1.5}"),
    ],
    "Pow": [
        Case("4,5", "y = Pow(x, c)", "T c = {2.0}"),
        Case("4,5", "a = Exp(x) y = Pow(a, c)", "T[5] c = {0.5, -1.0, 3.0, 2.0, 1.0}"),
        Case("4,1", "y = Pow(x, c)", "T[2] c = {2.0, 3.0}"),
    ],
    "QuantizeLinear": [
        Case(
            "6,8",
            "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)",
            "T s = {0.005}, uint8 z = {128}",
            "y = Clip(x, c, c1)",
        ),
        Case("4,5", "q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)", "T s = {0.1}", "y = Clip(x, c)"),
    ],
    "Reciprocal": [Case("4,5", "a = Exp(x) y = Reciprocal(a)")],
    "ReduceMean": [
        Case("2,3,4", "y = ReduceMean<axes=[1, -1], keepdims=0>(x)"),
        Case("2,3,4", "y = ReduceMean<axes=[2]>(x)"),
        Case("2,3,4", "y = ReduceMean(x)"),
        Case("2,3,4", "y = ReduceMean(x, a)", "int64[2] a = {0, 2}", opset=18),
        Case("2,3,4", "y = ReduceMean<noop_with_empty_axes=1>(x)", opset=18),
    ],
    "Relu": [Case("4,5", "y = Relu(x)")],
    "Reshape": [
        Case("2,3,4", "y = Reshape(x, s)", "int64[2] s = {0, -1}"),
        Case("2,3,4", "y = Reshape(x, s)", "int64[4] s = {3, 2, 2, 2}"),
    ],
    "Sigmoid": [Case("4,5", "y = Sigmoid(x)")],
    "Slice": [
        Case("2,3,8", "y = Slice(x, s, e, a)", "int64[1] s = {1}, int64[1] e = {-2}, int64[1] a = {2}"),
        Case(
            "2,3,8",
            "y = Slice(x, s, e, a, t)",
            "int64[2] s = {0, 1}, int64[2] e = {9223372036854775807, 8}, int64[2] a = {1, -1}, int64[2] t = {2, 3}",
        ),
        Case(
            "2,3,8",
            "y = Slice(x, s, e, a, t)",
            "int64[1] s = {-1}, int64[1] e = {-9223372036854775807}, int64[1] a = {2}, int64[1] t = {-2}",
        ),
        Case("2,3,8", "y = Slice(x, s, e)", "int64[2] s = {0, 1}, int64[2] e = {2, 3}"),
    ],
    "Softmax": [
        Case("2,3,4", "y = Softmax<axis=1>(x)"),
        Case("4,5", "y = Softmax(x)"),
    ],
    "Split": [
        Case("2,6", "a, b = Split<axis=1>(x, s) y = Mul(a, b)", "int64[2] s = {3, 3}"),
        Case("2,3,6", "a, b, c = Split<axis=-1>(x, s) y = MatMul(w, b)", "int64[3] s = {1, 4, 1}, T[5,3] w"),
        Case("4,3", "a, b = Split(x) d = Tanh(b) y = Concat<axis=1>(a, d, b)"),
        Case("2,6", "a, b, c = Split<axis=1, num_outputs=3>(x) y = Sub(c, a)", opset=18),
    ],
    "Sqrt": [Case("4,5", "a = Exp(x) y = Sqrt(a)")],
    "Squeeze": [Case("2,1,3,1", "y = Squeeze(x, a)", "int64[2] a = {1, 3}"), Case("2,1,3", "y = Squeeze(x)")],
    "Sub": [Case("2,3", "y = Sub(x, c)", "T[3] c"), Case("2,3", "a = Tanh(x) y = Sub(c, a)", "T[4,2,3] c")],
    "Tanh": [Case("4,5", "y = Tanh(x)")],
    "Transpose": [Case("2,3,4", "y = Transpose<perm=[2, 0, 1]>(x)"), Case("2,3,4", "y = Transpose(x)")],
    "Unsqueeze": [Case("2,3", "y = Unsqueeze(x, a)", "int64[2] a = {0, -1}")],
    "Abs": [Case("4,5", "y = Abs(x)")],
    "Celu": [Case("4,5", "y = Celu<alpha=0.7>(x)")],
    "Einsum": [
        Case("2,3,4", 'y = Einsum<equation="bij,kj->bik">(x, w)', "T[5,4] w"),
        Case("2,3,4", 'y = Einsum<equation="bid, bjd -> bij">(x, x)'),
        Case("2,3,4", 'y = Einsum<equation="bij->bji">(x)'),
    ],
    "Elu": [Case("4,5", "y = Elu<alpha=0.6>(x)"), Case("4,5", "y = Elu(x)")],
    "Expand": [
        Case("2,1,4", "y = Expand(x, s)", "int64[3] s = {2, 3, 4}"),
        Case("3,1", "y = Expand(x, s)", "int64[3] s = {2, 1, 4}"),
    ],
    "GlobalMaxPool": [Case(IMAGE, "y = GlobalMaxPool(x)")],
    "GroupNormalization": [
        Case("2,6,3,2", "y = GroupNormalization<num_groups=2>(x, w, b)", "T[6] w, T[6] b", opset=21),
        Case("2,4,5", "y = GroupNormalization<num_groups=4, epsilon=0.1>(x, w, b)", "T[4] w, T[4] b", opset=21),
    ],
    "InstanceNormalization": [
        Case("2,3,4,2", "y = InstanceNormalization(x, w, b)", "T[3] w, T[3] b"),
        Case("2,3,5", "y = InstanceNormalization<epsilon=0.1>(x, w, b)", "T[3] w, T[3] b"),
    ],
    "LogSoftmax": [Case("2,3,4", "y = LogSoftmax<axis=1>(x)"), Case("4,5", "y = LogSoftmax(x)")],
    "Max": [
        Case("4,5", "a = Tanh(x) b = Neg(x) y = Max(a, b, c)", "T c = {0.1}"),
        Case("4,5", "a = ReduceMean<axes=[0]>(x) y = Max(x, a)"),
    ],
    "Min": [Case("4,5", "y = Min(x, c)", "T[5] c"), Case("4,5", "y = Min(x)")],
    "Mish": [Case("4,5", "y = Mish(x)", opset=18)],
    "PRelu": [Case("2,3,4", "y = PRelu(x, w)", "T[3,1] w")],
    "ReduceL2": [
        Case("2,3,4", "y = ReduceL2<axes=[-1]>(x)"),
        Case("2,3,4", "y = ReduceL2<axes=[1, 2], keepdims=0>(x)"),
        Case("2,3,4", "y = ReduceL2(x, a)", "int64[1] a = {1}", opset=18),
    ],
    "ReduceMax": [
        Case("2,3,4", "y = ReduceMax<axes=[1], keepdims=0>(x)"),
        Case("2,3,4", "y = ReduceMax(x)"),
        Case("2,3,4", "y = ReduceMax(x, a)", "int64[2] a = {0, -1}", opset=18),
    ],
    "ReduceSum": [
        Case("2,3,4", "y = ReduceSum<keepdims=0>(x, a)", "int64[2] a = {0, -1}"),
        Case("2,3,4", "y = ReduceSum(x)"),
    ],
    "Selu": [Case("4,5", "y = Selu(x)"), Case("4,5", "y = Selu<alpha=1.5, gamma=0.8>(x)")],
    "Softplus": [Case("4,5", "y = Softplus(x)")],
    "Sum": [Case("2,3,4", "a = Tanh(x) b = ReduceMean<axes=[1]>(x) y = Sum(a, b, c, x)", "T[4] c")],
    "Where": [
        Case("4,5", "g = Greater(x, c) a = Tanh(x) b = Exp(x) y = Where(g, a, b)", "T c = {0.2}"),
        Case("4,5", "a = ReduceMean<axes=[0]>(x) y = Where(m, a, c)", "bool[4,1] m = {1, 0, 0, 1}, T[4,5] c"),
    ],
}
