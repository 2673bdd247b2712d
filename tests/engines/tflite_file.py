"""A tiny .tflite classifier, put together table by table: what no converter needs to be installed for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np


def content(dtype: str, batch: int, operator: str | None) -> bytes:
    """Build the file; a negative batch leaves it open, `operator` puts a custom one in the softmax's place."""
    zero = {"uint8": 128, "int8": 0, "float32": 0}[dtype]
    rng = np.random.default_rng(7)
    types = schema.TensorType
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors, graph.operators, model.operatorCodes = [], [], []

    def tensor(name: str, shape: Sequence[int], kind: str, grid: tuple[float, int], values: Any = None) -> int:
        entry = schema.TensorT()
        entry.name, entry.type = name.encode(), getattr(types, kind.upper())
        entry.shape, entry.shapeSignature = [abs(side) for side in shape], list(shape)
        if kind != "float32":
            entry.quantization = schema.QuantizationParametersT()
            entry.quantization.scale, entry.quantization.zeroPoint = [grid[0]], [grid[1]]
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(values, kind).tobytes(), np.uint8)
            entry.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(entry)
        return len(graph.tensors) - 1

    def weights(name: str, shape: Sequence[int]) -> int:
        if dtype == "float32":
            return tensor(name, shape, dtype, (1.0, 0), rng.normal(0, 0.3, shape))
        return tensor(name, shape, dtype, (0.01, zero), rng.integers(-90, 90, shape) + zero)

    def bias(name: str, size: int, step: float) -> int:
        if dtype == "float32":
            return tensor(name, [size], dtype, (1.0, 0), rng.normal(0, 0.3, size))
        return tensor(name, [size], "int32", (step, 0), rng.integers(-900, 900, size))

    def node(kind: str, inputs: list[int], output: int, options: Any = None, custom: str | None = None) -> int:
        code, entry = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, "CUSTOM" if custom else kind)
        code.customCode, code.version = custom and custom.encode(), {"MEAN": 2}.get(kind, 1) if dtype == "int8" else 1
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        model.operatorCodes.append(code)
        entry.opcodeIndex, entry.inputs, entry.outputs = len(model.operatorCodes) - 1, inputs, [output]
        if options is not None:
            entry.builtinOptions = options
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        graph.operators.append(entry)
        return output

    x = tensor("x", [batch, 8, 8, 3], dtype, (1 / 128, zero))
    convolution, mean, softmax = schema.Conv2DOptionsT(), schema.ReducerOptionsT(), schema.SoftmaxOptionsT()
    convolution.strideH = convolution.strideW = convolution.dilationHFactor = convolution.dilationWFactor = 1
    softmax.beta, mean.keepDims = 1.0, False
    maps = tensor("maps", [batch, 8, 8, 4], dtype, (0.05, zero))
    node("CONV_2D", [x, weights("w", [4, 3, 3, 3]), bias("b", 4, 0.01 / 128)], maps, convolution)
    means = tensor("means", [batch, 4], dtype, (0.02, zero))
    node("MEAN", [maps, tensor("axes", [2], "int32", (1.0, 0), [1, 2])], means, mean)
    logits = tensor("logits", [batch, 5], dtype, (0.05, zero))
    node(
        "FULLY_CONNECTED", [means, weights("v", [5, 4]), bias("c", 5, 0.0002)], logits, schema.FullyConnectedOptionsT()
    )
    scores = tensor("scores", [batch, 5], dtype, (1 / 256, -128 if dtype == "int8" else 0))
    node("SOFTMAX", [logits], scores, None if operator else softmax, operator)
    graph.inputs, graph.outputs = [x], [scores]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
