"""A gradient source from a model file: the backward graph run by ONNX Runtime behind a preprocessing pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from ...core.errors import EngineError, InputError, UnsupportedError
from ...core.files import sha256_bytes
from ...export.onnx_file import read_model
from ...export.prepare import prepare
from ...inputs.pipeline import Pipeline
from .backward import GRADIENT, LABELS, SCORES, cross_entropy_graph

Images = NDArray[np.uint8]
Labels = NDArray[np.integer[Any]]
Floats = NDArray[np.float32]


class Session(Protocol):
    """The part of an ONNX Runtime session that the twin uses."""

    def run(self, output_names: list[str] | None, input_feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph."""


@dataclass(frozen=True, kw_only=True)
class InputGradient:
    """What the backward graph gives for a batch.

    Attributes:
        scores: (N, classes) float32 logits.
        gradient: d loss / d input in the shape of what was differentiated, float32; the loss is each image's own
            cross-entropy.
    """

    scores: Floats
    gradient: Floats


class Twin:
    """The model as an attacker with its file sees it: scores, and gradients of the cross-entropy, without torch.

    With ONNX Runtime's CPU kernels an image's gradient had the same bits in every batch size and position and with one
    or two threads, on every network tried; so nothing is padded unless the model's batch is fixed.

    Args:
        session: Runs the backward graph.
        input_name: Its image input.
        classes: Number of scores.
        pipeline: From uint8 images to the model's input.
        batch: Largest batch that is run at once.
        fixed: Whether the graph accepts only exactly that batch.
        sha256: Hash of the backward graph; empty where there is no graph.
    """

    def __init__(
        self,
        *,
        session: Session,
        input_name: str,
        classes: int,
        pipeline: Pipeline,
        batch: int,
        fixed: bool = False,
        sha256: str = "",
    ) -> None:
        self.sha256 = sha256
        self.classes = classes
        self.pipeline = pipeline
        self.batch = batch
        self._session = session
        self._input_name = input_name
        self._fixed = fixed
        slopes = 1 / (255 * np.asarray(pipeline.std, dtype=np.float64))
        self._slopes = slopes.astype(np.float32)  # d input / d grey level, per channel

    @classmethod
    def open(
        cls,
        model: onnx.ModelProto | Path,
        pipeline: Pipeline,
        *,
        threads: int | None = None,
        batch: int = 32,
        straight_through: bool = True,
    ) -> Twin:
        """Emit the backward graph of a float or QDQ classifier and start ONNX Runtime on it.

        Args:
            model: The model or its file.
            pipeline: How images reach it; must give float input of the model's layout and size.
            threads: ONNX Runtime's threads; None leaves the choice to it.
            batch: Largest batch run at once; memory grows with it, results do not change.
            straight_through: Whether rounding in a QDQ model passes the gradient on inside its clip range. False gives
                the literal zero.

        Raises:
            InputError: If the file is no usable model, or the pipeline does not fit it.
            UnsupportedError: If an operator has no gradient rule, or the pipeline hands over raw uint8.
        """
        if batch < 1:
            raise InputError(f"Expected `batch` of at least 1, got {batch}. Use 32.")
        if pipeline.dtype == "float16":  # `prepare` widens the model
            pipeline = replace(pipeline, dtype="float32")
        if pipeline.dtype != "float32":
            raise UnsupportedError(
                f"Preset '{pipeline.name}' feeds {pipeline.dtype}, which has no gradient. "
                "Give the twin a float model and its float preset."
            )
        loaded = read_model(model) if isinstance(model, Path) else model
        graph = cross_entropy_graph(prepare(loaded).model, straight_through=straight_through)
        images, scores = graph.graph.input[0], graph.graph.output[0]
        sizes = [dim.dim_value for dim in images.type.tensor_type.shape.dim]
        _check_fit(pipeline, sizes[1:])
        content = graph.SerializeToString(deterministic=True)
        return cls(
            session=_start(content, threads),
            input_name=images.name,
            classes=scores.type.tensor_type.shape.dim[1].dim_value,
            pipeline=pipeline,
            batch=sizes[0] or batch,
            fixed=sizes[0] > 0,
            sha256=sha256_bytes(content),
        )

    def gradient(self, images: Images | NDArray[np.floating[Any]], labels: Labels) -> Floats:
        """Give the gradient of each image's cross-entropy with respect to its pixels.

        Args:
            images: (N, H, W, 3) RGB: uint8, or floating-point grey levels, also between and beyond those of uint8.
            labels: (N,) integers in [0, classes).

        Returns:
            (N, H, W, 3) float32, C-contiguous: d loss / d pixel, per grey level.

        Raises:
            InputError: If shapes, types or labels do not fit.
            EngineError: If ONNX Runtime fails on the images.
        """
        return self.scored_gradient(images, labels).gradient

    def scored_gradient(self, images: Images | NDArray[np.floating[Any]], labels: Labels) -> InputGradient:
        """Give scores and the gradient that `gradient` gives, from one pass.

        Raises:
            InputError: If shapes, types or labels do not fit.
            EngineError: If ONNX Runtime fails on the images.
        """
        found = self.gradient_input(self._tensor(images), labels)
        gradients = found.gradient
        if self.pipeline.layout == "nchw":
            gradients = gradients.transpose(0, 2, 3, 1)
        gradients = np.multiply(gradients, self._slopes, order="C")
        ordered = gradients if self.pipeline.colour == "rgb" else np.ascontiguousarray(gradients[..., ::-1])
        return InputGradient(scores=found.scores, gradient=ordered)

    def gradient_input(self, batch: Floats, labels: Labels) -> InputGradient:
        """Give scores and gradient for input as the model takes it, without the pipeline.

        Args:
            batch: (N, ...) float32 in the model's layout and scale; any N.
            labels: (N,) integers in [0, classes).

        Raises:
            InputError: If the labels do not fit.
            EngineError: If ONNX Runtime fails on the images.
        """
        labels = np.asarray(labels)
        if labels.shape != batch.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(f"Expected {len(batch)} integer labels, got {labels.shape} {labels.dtype}.")
        if labels.size and not (labels.min() >= 0 and labels.max() < self.classes):
            raise InputError(f"Expected labels in 0..{self.classes - 1}, got {labels.min()}..{labels.max()}.")
        return self._run(batch, labels.astype(np.int64))

    def scores(self, images: Images) -> Floats:
        """Give the logits, (N, classes) float32, for (N, H, W, 3) uint8 images.

        Runs the whole backward graph; it is meant for measuring agreement, not for querying.
        """
        batch = self.pipeline.tensor(images)
        return self._run(batch, np.zeros(len(batch), dtype=np.int64)).scores

    def _tensor(self, images: Images | NDArray[np.floating[Any]]) -> Floats:
        """Give the model's input; whole grey levels give the same bits as floats and as uint8."""
        if images.dtype == np.uint8:
            tensor: Floats = self.pipeline.tensor(images.astype(np.uint8, copy=False))
            return tensor
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype.kind != "f":
            raise InputError(f"Expected images (N, H, W, 3), uint8 or float, got {images.shape} {images.dtype}.")
        ordered = images if self.pipeline.colour == "rgb" else images[..., ::-1]
        scaled = (ordered / np.float64(255) - self.pipeline.mean) / self.pipeline.std
        axes = (0, 3, 1, 2) if self.pipeline.layout == "nchw" else (0, 1, 2, 3)
        return np.ascontiguousarray(scaled.transpose(axes), dtype=np.float32)

    def _run(self, batch: Floats, labels: NDArray[np.int64]) -> InputGradient:
        scores = np.empty((len(batch), self.classes), dtype=np.float32)
        gradient = np.empty(batch.shape, dtype=np.float32)
        for piece in _pieces(len(batch), self.batch):
            count = len(range(len(batch))[piece])
            feed = {self._input_name: self._padded(batch[piece]), LABELS: self._padded(labels[piece])}
            try:
                outputs = self._session.run([SCORES, GRADIENT], feed)
            except Exception as error:  # ONNX Runtime's errors share no base class but this
                raise EngineError(f"The backward graph failed on {count} images: {error}") from error
            scores[piece], gradient[piece] = outputs[0][:count], outputs[1][:count]
        return InputGradient(scores=scores, gradient=gradient)

    def _padded(self, rows: NDArray[Any]) -> NDArray[Any]:
        if not self._fixed or len(rows) == self.batch:
            return rows
        return np.concatenate([rows, np.repeat(rows[:1], self.batch - len(rows), axis=0)])


def _pieces(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _check_fit(pipeline: Pipeline, sizes: list[int]) -> None:
    height, width = pipeline.size
    expected = [3, height, width] if pipeline.layout == "nchw" else [height, width, 3]
    if sizes != expected:
        raise InputError(
            f"Preset '{pipeline.name}' gives {pipeline.layout} images of {expected}, the model takes {sizes}. "
            "Choose the preset of this model, or fit it with `for_size`."
        )


def _start(graph: bytes, threads: int | None) -> Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session: Session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session
