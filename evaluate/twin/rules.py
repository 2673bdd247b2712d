"""The table of operators that have a gradient. A new one: a rule function in its family's file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from . import (
    rules_bend,
    rules_choice,
    rules_conv,
    rules_dense,
    rules_elementwise,
    rules_norm,
    rules_pick,
    rules_pool,
    rules_quantize,
    rules_reduce,
    rules_shape,
    rules_smooth,
)
from .emitter import Gradients, Site

Rule = Callable[[Site], Gradients]
"""Writes the gradient of one node and names it per input; None, or a shorter list, where an input has none."""

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Abs": rules_choice.absolute,
        "Add": rules_elementwise.add,
        "AveragePool": rules_pool.average_pool,
        "BatchNormalization": rules_dense.batch_normalization,
        "Cast": rules_elementwise.cast,
        "Celu": rules_bend.celu,
        "Clip": rules_elementwise.clip,
        "Concat": rules_shape.concat,
        "Conv": rules_conv.conv,
        "DequantizeLinear": rules_quantize.dequantize_linear,
        "Div": rules_elementwise.div,
        "Dropout": rules_elementwise.unchanged,
        "Einsum": rules_reduce.einsum,
        "Elu": rules_bend.elu,
        "Erf": rules_smooth.erf,
        "Exp": rules_smooth.exp,
        "Expand": rules_reduce.expand,
        "Flatten": rules_shape.reshape,
        "Gather": rules_pick.gather,
        "Gelu": rules_smooth.gelu,
        "Gemm": rules_dense.gemm,
        "GlobalAveragePool": rules_pool.global_average_pool,
        "GlobalMaxPool": rules_reduce.global_max_pool,
        "GroupNormalization": rules_norm.group_normalization,
        "HardSigmoid": rules_elementwise.hard_sigmoid,
        "HardSwish": rules_elementwise.hard_swish,
        "Identity": rules_elementwise.unchanged,
        "InstanceNormalization": rules_norm.instance_normalization,
        "LayerNormalization": rules_dense.layer_normalization,
        "LeakyRelu": rules_elementwise.leaky_relu,
        "Log": rules_smooth.log,
        "LogSoftmax": rules_bend.log_softmax,
        "MatMul": rules_dense.matmul,
        "Max": rules_choice.largest,
        "MaxPool": rules_pool.max_pool,
        "Min": rules_choice.largest,
        "Mish": rules_bend.mish,
        "Mul": rules_elementwise.mul,
        "Neg": rules_smooth.neg,
        "PRelu": rules_choice.prelu,
        "Pad": rules_shape.pad,
        "Pow": rules_smooth.power,
        "QuantizeLinear": rules_quantize.quantize_linear,
        "Reciprocal": rules_smooth.reciprocal,
        "ReduceL2": rules_reduce.reduce_l2,
        "ReduceMax": rules_reduce.reduce_max,
        "ReduceMean": rules_shape.reduce_mean,
        "ReduceSum": rules_reduce.reduce_sum,
        "Relu": rules_elementwise.relu,
        "Reshape": rules_shape.reshape,
        "Selu": rules_bend.selu,
        "Sigmoid": rules_elementwise.sigmoid,
        "Slice": rules_shape.slice_,
        "Softmax": rules_dense.softmax,
        "Softplus": rules_bend.softplus,
        "Split": rules_pick.split,
        "Sqrt": rules_smooth.sqrt,
        "Squeeze": rules_shape.reshape,
        "Sub": rules_elementwise.sub,
        "Sum": rules_choice.add_all,
        "Tanh": rules_elementwise.tanh,
        "Transpose": rules_shape.transpose,
        "Unsqueeze": rules_shape.reshape,
        "Where": rules_choice.where,
    }
)

SEVERAL_OUTPUTS = frozenset({"Split"})
"""Operators whose rule reads the gradient of every output; of the others only the first output may have one."""
