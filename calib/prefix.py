"""A model computed only as far as one activation, on batches that stream through a few threads in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import onnx

from ..core.errors import UnsupportedError
from .graph import model_input
from .layers import Floats

Run = Callable[[Floats], Floats]
_Batch = TypeVar("_Batch")
_Result = TypeVar("_Result")


def prefix(model: onnx.ModelProto, tensor: str, start: str | None = None) -> onnx.ModelProto:
    """Give the part of a model that computes one activation, with it as the only output.

    Args:
        model: A float model in topological order.
        tensor: An activation; the graph's input is allowed.
        start: A float32 activation that all of it is computed from, taken as the input; None for the model's own.
    """
    needed, kept = {tensor}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output) and start not in node.output:
            needed.update(node.input)
            kept.append(node)
    cut = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    cut.graph.name = "prefix"
    cut.graph.node.extend(reversed(kept))
    if start is None:
        cut.graph.input.extend(value for value in model.graph.input)
    else:
        cut.graph.input.append(onnx.helper.make_tensor_value_info(start, onnx.TensorProto.FLOAT, None))
    cut.graph.initializer.extend(value for value in model.graph.initializer if value.name in needed)
    cut.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    return cut


def runner(model: onnx.ModelProto, tensor: str, start: str | None = None) -> Run:
    """Open the part of a model up to one activation; calls may come from several threads at once.

    The session runs on the calling thread alone, so a result does not depend on how many there are, and keeps
    QuantizeLinear and DequantizeLinear as they are rather than fusing them into integer kernels.

    Args:
        model: A float model with one image input.
        tensor: The activation wanted.
        start: Where to start, as in `prefix`.

    Returns:
        Images as the model takes them, or values of ``start`` -> values of the activation.

    Raises:
        UnsupportedError: If ONNX Runtime is not installed.
    """
    name = start or model_input(model).name
    if tensor == name:
        return lambda images: images
    session = _session(prefix(model, tensor, None if name == model_input(model).name else name))

    def run(images: Floats) -> Floats:
        return np.asarray(session.run([tensor], {name: images})[0])

    return run


def in_order(work: Callable[[_Batch], _Result], batches: Iterable[_Batch], *, threads: int) -> Iterator[_Result]:
    """Apply ``work`` to batches in a few threads; give the results in order, at most two per thread waiting."""
    if threads == 1:
        yield from map(work, batches)
        return
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for batch in batches:
                pending.append(pool.submit(work, batch))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _session(model: onnx.ModelProto) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UnsupportedError(
            "Choosing weights needs ONNX Runtime, which is not installed. Run `pip install robustmq-trt[cpu]`."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
