"""Reading a .tflite file: parsed in Python and checked before the native runtime sees a byte of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, UnsupportedError

INSTALL = "pip install 'robustmq-trt[litert]'"
_IDENTIFIER = b"TFL3"
_ABSENT = -1  # an operator's optional input that is not given


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor of the file.

    Attributes:
        name: Its name.
        shape: Its sides, None for each that is not fixed.
        dtype: Lower-case name of its type, e.g. ``uint8``.
        scales: Quantization steps: none, one, or one per channel.
        zero_points: As many quantized values that stand for 0.
        constant: True if the file holds its values.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    constant: bool


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of the file.

    Attributes:
        name: Its kind, e.g. ``CONV_2D``.
        inputs: Indices of the tensors it reads; absent ones are left out.
        outputs: Indices of the tensors it writes.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A checked .tflite file.

    Attributes:
        content: Its bytes, the ones that were hashed and checked.
        sha256: SHA-256 of them, in hexadecimal.
        tensors: Every tensor, by index.
        operators: Every operator, in the order of execution.
        inputs: Indices of the model's inputs.
        outputs: Indices of the model's outputs.
    """

    content: bytes
    sha256: str
    tensors: Sequence[Tensor]
    operators: Sequence[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_source(path: Path) -> Source:
    """Read and check a .tflite file.

    Raises:
        InputError: If it cannot be read or is damaged.
        UnsupportedError: If it holds custom operators or several graphs, or LiteRT is not installed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    if content[4:8] != _IDENTIFIER:
        raise InputError(f"'{path}' is no .tflite file: it lacks the mark TFL3. Copy or convert it again.")
    schema = _schema()
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        graph = _only_graph(model, path)
        tensors = [_tensor(tensor, model.buffers, schema) for tensor in graph.tensors]
        operators = [_operator(operator, model.operatorCodes, schema, path) for operator in graph.operators]
    except (InputError, UnsupportedError):
        raise
    except Exception as error:  # a damaged offset ends in whatever the parser happens to read there
        raise InputError(f"'{path}' is damaged: {error or type(error).__name__}. Copy or convert it again.") from error
    source = Source(
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        tensors=tensors,
        operators=operators,
        inputs=_indices(graph.inputs),
        outputs=_indices(graph.outputs),
    )
    _check_indices(source, path)
    return source


def _only_graph(model: Any, path: Path) -> Any:
    if len(model.subgraphs) != 1:
        raise UnsupportedError(
            f"'{path}' holds {len(model.subgraphs)} graphs, expected one. Export the classifier without control flow."
        )
    return model.subgraphs[0]


def _tensor(tensor: Any, buffers: Sequence[Any], schema: Any) -> Tensor:
    quantization = tensor.quantization
    scales = () if quantization is None or quantization.scale is None else quantization.scale
    zero_points = () if quantization is None or quantization.zeroPoint is None else quantization.zeroPoint
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    data = buffers[tensor.buffer].data
    return Tensor(
        name=(tensor.name or b"").decode(),  # the runtime's own Python interface fails on names that are not UTF-8
        shape=tuple(int(side) if side >= 0 else None for side in (() if signature is None else signature)),
        dtype=_names(schema.TensorType)[tensor.type].lower(),
        scales=tuple(float(scale) for scale in scales),
        zero_points=tuple(int(point) for point in zero_points),
        constant=data is not None and len(data) > 0,
    )


def _operator(operator: Any, codes: Sequence[Any], schema: Any, path: Path) -> Operator:
    code = codes[operator.opcodeIndex]
    number = max(code.deprecatedBuiltinCode, code.builtinCode)  # old files fill only the first
    if number == schema.BuiltinOperator.CUSTOM:
        name = (code.customCode or b"?").decode(errors="replace")
        raise UnsupportedError(f"'{path}' needs the custom operator '{name}'. Only built-in operators are run.")
    return Operator(
        name=_names(schema.BuiltinOperator)[number],
        inputs=tuple(index for index in _indices(operator.inputs) if index != _ABSENT),
        outputs=_indices(operator.outputs),
    )


def _check_indices(source: Source, path: Path) -> None:
    used = [*source.inputs, *source.outputs]
    for operator in source.operators:
        used += [*operator.inputs, *operator.outputs]
    wrong = [index for index in used if not 0 <= index < len(source.tensors)]
    if wrong:
        raise InputError(f"'{path}' is damaged: it names tensor {wrong[0]} of {len(source.tensors)}. Copy it again.")


def _indices(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in np.asarray(values))


def _names(enumeration: Any) -> Mapping[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _schema() -> Any:
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise UnsupportedError(f"LiteRT is not importable: {error}. Install it with: {INSTALL}") from error
    return schema_py_generated
