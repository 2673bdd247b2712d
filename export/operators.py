"""Tables of standard ONNX operators by what the passes of `prepare` may assume about them."""

from __future__ import annotations

# fmt: off
FOLDABLE = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Cos", "Div", "Equal", "Erf", "Exp",
    "Expand", "Flatten", "Floor", "Gather", "GatherND", "Gemm", "Greater", "GreaterOrEqual", "Identity", "Less",
    "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pad", "Pow", "Range",
    "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Shape",
    "Sin", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
})
"""Deterministic and stateless: computed once where all inputs are constant."""

PER_SAMPLE = frozenset({
    "Abs", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Conv", "ConvTranspose", "DepthToSpace",
    "DequantizeLinear", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "GlobalAveragePool", "GlobalLpPool",
    "GlobalMaxPool", "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LRN",
    "LeakyRelu", "Log", "LpPool", "MaxPool", "Mish", "Neg", "PRelu", "QuantizeLinear", "Reciprocal", "Relu", "Round",
    "Selu", "Sigmoid", "Softplus", "Softsign", "SpaceToDepth", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
})
"""Treat every sample (axis 0 of the first input) alone, whatever their attributes."""

BROADCAST = frozenset({
    "Add", "Div", "Equal", "Greater", "Less", "MatMul", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum", "Where",
})
"""Combine their inputs element by element (MatMul: matrix by matrix) with broadcasting."""

REDUCING = frozenset({
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Squeeze", "Unsqueeze",
})
"""Change or remove the axes named by an attribute or by the second input."""
# fmt: on
