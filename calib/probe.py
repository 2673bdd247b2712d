"""One image through the model with every wanted activation visible, into memory that is allocated once.

The session runs unoptimized, with the kernels that ONNX Runtime's own calibrator runs, so min-max ranges agree with
its to the last bit; the optimized graph is faster (15 ms an image instead of 20 on MobileNetV2) but rounds differently.
Convolutions with an activation function behind them are fused (`fuse.py`, 18 ms), which does not. It is shared by all
workers and computes each image on one thread: two images on two cores need no synchronisation, and some of ONNX
Runtime's convolutions round differently with the number of threads (3e-7 on ResNet-20), ours so never do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ..core.errors import InputError, UnsupportedError
from .fuse import DOMAIN, fused_nodes
from .graph import model_input
from .histogram import Floats
from .weightless import large_weights, without_weights


@dataclass(frozen=True, kw_only=True)
class OpenModel:
    """A model ready to run.

    Attributes:
        session: An ``onnxruntime.InferenceSession`` on the CPU.
        weights: The ``onnxruntime.OrtValue`` of each large weight. The session computes on their memory and does not
            own it, so both have to live equally long.
    """

    session: Any
    weights: tuple[Any, ...]


def open_model(model: onnx.ModelProto, tensors: tuple[str, ...]) -> OpenModel:
    """Open the model with the named activations as additional outputs.

    Args:
        model: A float classifier; it is not changed.
        tensors: Activations to make visible, float32.

    Raises:
        UnsupportedError: If ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UnsupportedError(
            "Calibration needs ONNX Runtime, which is not installed. Run `pip install robustmq-trt[cpu]`."
        ) from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and need not be printed as well
    named = large_weights(model)
    weights = [onnxruntime.OrtValue.ortvalue_from_numpy(values) for values in named.values()]
    options.add_external_initializers(list(named), weights)
    content = _observable(model, tensors).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return OpenModel(session=session, weights=tuple(weights))


def _observable(model: onnx.ModelProto, tensors: tuple[str, ...]) -> onnx.ModelProto:
    copy = without_weights(model)
    del copy.graph.node[:]
    copy.graph.node.extend(fused_nodes(model.graph, tensors))
    if all(entry.domain != DOMAIN for entry in copy.opset_import):
        copy.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    present = {model_input(model).name, *(value.name for value in copy.graph.output)}
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in dict.fromkeys(tensors)
        if name not in present
    )
    return copy


class Probe:
    """The buffers of one thread and the way images pass through them."""

    def __init__(self, opened: OpenModel, tensors: tuple[str, ...]) -> None:
        self._opened = opened  # the weights, too
        self._session = opened.session
        self._input = self._session.get_inputs()[0].name
        self._tensors = tensors
        self._outputs = [value.name for value in self._session.get_outputs() if value.name in tensors]
        self._buffers: dict[str, Floats] = {}
        self._binding = self._session.io_binding()

    def activations(self, images: Floats) -> Iterator[tuple[str, Floats]]:
        """Run the model and give each wanted activation in the order of computation.

        Args:
            images: Model input, float32, contiguous, of the same shape at every call.

        Yields:
            Tensor name and values; the array is overwritten by the next call.

        Raises:
            InputError: If an activation changes its shape from one call to the next.
        """
        if self._buffers:
            self._run_bound(images)
        else:
            self._run_first(images)
        for name in self._tensors:
            yield name, images if name == self._input else self._buffers[name]

    def _run_first(self, images: Floats) -> None:
        values = self._session.run(self._outputs, {self._input: images}) if self._outputs else []
        self._buffers = {name: np.array(value) for name, value in zip(self._outputs, values, strict=True)}
        for name, buffer in self._buffers.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, list(buffer.shape), buffer.ctypes.data)

    def _run_bound(self, images: Floats) -> None:
        self._binding.bind_input(self._input, "cpu", 0, np.float32, list(images.shape), images.ctypes.data)
        try:
            self._session.run_with_iobinding(self._binding)
        except RuntimeError as error:
            if "output shape" not in str(error):
                raise
            raise InputError(
                "An activation changes its shape from image to image. "
                "Calibrate a model whose shapes depend on the batch only."
            ) from error
