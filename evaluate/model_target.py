"""A model that lies in memory, opened as an engine behind its preprocessing for as long as a block lasts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from ..core.files import sha256_file
from ..engines.catalog import open_engine
from ..export.onnx_file import write_model
from ..inputs.pipeline import Pipeline
from .target import Target


@contextmanager
def model_target(model: ModelProto, pipeline: Pipeline, *, threads: int | None) -> Iterator[Target]:
    """Open a model that lies in memory as an engine behind a pipeline, and close it at the end.

    Args:
        model: A float or QDQ classifier.
        pipeline: Its preprocessing, fitted to the engine's size, layout and type here.
        threads: Threads of the engine; None for all.

    Raises:
        InputError: If ONNX Runtime refuses the model.
    """
    with tempfile.TemporaryDirectory(prefix="robustmq-") as folder:
        path = Path(folder) / "model.onnx"
        write_model(model, path)
        engine = open_engine(path, threads=threads)
        try:
            spec = engine.spec
            fitted = replace(pipeline.for_size(spec.height, spec.width), layout=spec.layout, dtype=spec.dtype)
            yield Target(
                name="model",
                engine=engine,
                pipeline=fitted,
                identity={"sha256": sha256_file(path), "kind": engine.provenance()["kind"]},
                batch=spec.fixed_batch or 32,
                pad=spec.fixed_batch is not None,
            )
        finally:
            engine.close()
